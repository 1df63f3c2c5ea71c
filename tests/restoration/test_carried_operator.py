"""Laws of an operator that carries over: its folded weights, what it is told, and its files."""

import pytest
import torch

from oinr_monai import CarriedOperator
from oinr_monai.restoration.carried_operator import (
    DEGREES,
    at_places,
    legendre,
    shipped_operator,
    told_slices,
)
from oinr_monai.restoration.told import Told
from oinr_monai.scanner.profiles import Boxcar, Gaussian, SampledProfile

TOLD = Told.of(ratio=2.6, profile=Gaussian(2.0), spacing=2.6, noise=0.05)


def operator(seed=0):
    """One that answers, and whose answer depends on what it is told."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = CarriedOperator(width=6, blocks=2)
        for weight in (*made.tail.parameters(), *made.telling[-1].parameters()):
            torch.nn.init.normal_(weight, std=0.1)
    return made


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_folded_weights_answer_alike(factor):
    made, coarse = operator().requires_grad_(False), torch.rand(1, 1, 6, 5, 7)
    answer = at_places(made(told_slices(coarse, TOLD)), factor)
    assert answer.shape == (1, 1, 6, 5, 7 * factor)
    torch.testing.assert_close(made.at(factor, TOLD)(coarse), answer, rtol=1e-4, atol=1e-5)
    other = at_places(made(told_slices(coarse, Told.of(5.0, Boxcar(5.0), 5.0))), factor)
    assert float((other - answer).abs().max()) > 1e-3


def test_each_of_a_batch_is_told_of_itself():
    made, coarse = operator().requires_grad_(False), torch.rand(2, 1, 6, 5, 7)
    each = [TOLD, Told.of(5.0, Boxcar(5.0), 5.0)]
    seen = [told_slices(coarse[i : i + 1], told) for i, told in enumerate(each)]
    alone = torch.cat([made(one) for one in seen])
    torch.testing.assert_close(made(torch.cat(seen)), alone, rtol=1e-4, atol=1e-5)


def test_scripted_it_answers_alike():
    made, seen = shipped_operator(), told_slices(torch.rand(1, 1, 6, 5, 7), TOLD)
    torch.testing.assert_close(torch.jit.script(made)(seen), made(seen), rtol=1e-5, atol=1e-6)


def test_it_starts_as_zero_whatever_it_is_told():
    plain = CarriedOperator(width=6, blocks=1).at(3, TOLD)
    assert not bool(plain(torch.rand(1, 1, 4, 4, 4)).any())


def test_answers_at_finer_places_go_through_the_same_polynomials():
    # With three times as many places, every third from the second on lies where the old ones lay.
    coarse = torch.rand(1, 1, 5, 5, 4)
    few, many = (operator().at(f, TOLD)(coarse) for f in (2, 6))
    torch.testing.assert_close(many[..., 1::3], few, rtol=1e-4, atol=1e-5)


def test_polynomials_are_orthonormal():
    values = legendre(4000).double()
    torch.testing.assert_close(
        values.T @ values / 4000, torch.eye(DEGREES).double(), atol=1e-4, rtol=0
    )


def test_gradients_reach_every_weight():
    made = operator()
    made(told_slices(torch.rand(1, 1, 6, 6, 6), TOLD)).square().mean().backward()
    assert all(bool(weight.grad.abs().max() > 0) for weight in made.parameters())


def test_profiles_are_told_by_what_they_keep_of_waves():
    half, one, more = Told.of(4.0, Gaussian(3.0), spacing=4.0).transfer
    for kept, frequency in ((half, 0.5), (one, 1.0), (more, 1.5)):
        sigma = 3.0 / 4.0 / (8 * torch.tensor(2.0).log().sqrt() ** 2) ** 0.5
        wanted = (-2 * (torch.pi * sigma * frequency) ** 2).exp()
        assert kept == pytest.approx(float(wanted), abs=1e-3)
    box = Told.of(2.0, SampledProfile((-1.0, 1.0), (1, 1)), spacing=2.0)
    assert box.transfer == pytest.approx(Told.of(2.0, Boxcar(2.0), spacing=2.0).transfer)


def test_it_is_what_was_saved(tmp_path):
    made, path = operator(), tmp_path / "operator.safetensors"
    made.save(path)
    found = CarriedOperator.load(path)
    assert repr(found) == repr(made) != repr(operator(seed=1))
    coarse = torch.rand(1, 1, 4, 4, 4)
    assert torch.equal(found.at(2, TOLD)(coarse), made.at(2, TOLD)(coarse))


def damaged(path, **changes):
    from oinr_monai.coding.tensor_file import write_tensor_file

    made = operator()
    header = {"width": made.width, "blocks": 2} | changes.get("header", {})
    write_tensor_file(
        path, "carried_operator", header, {**made.state_dict(), **changes.get("with_", {})}
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"header": {"width": 7}}, "must be float32"),
        ({"header": {"width": 1 << 30}}, "width must be 1 to 512"),
        ({"header": {"blocks": True}}, "blocks must be 1 to 64"),
        ({"header": {"more": 1}}, "other items"),
        ({"with_": {"extra": torch.zeros(1)}}, "too many"),
        ({"with_": {"body.head.bias": torch.full((6,), torch.nan)}}, "must be finite"),
    ],
)
def test_other_files_are_refused(changes, reason, tmp_path):
    path = tmp_path / "operator.safetensors"
    damaged(path, **changes)
    with pytest.raises(ValueError, match=f"start must be an operator .*{reason}"):
        CarriedOperator.load(path)


def test_no_cut_of_a_file_is_taken_for_one(tmp_path):
    path = tmp_path / "operator.safetensors"
    operator().save(path)
    whole = path.read_bytes()
    for part in (0, 7, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:part])
        with pytest.raises(ValueError, match="start must be an operator"):
            CarriedOperator.load(path)

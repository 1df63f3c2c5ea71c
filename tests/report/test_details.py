"""What a page says and shows, word by word and pixel by pixel."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor

from oinr_monai import Grid, fit
from oinr_monai.report import Page, answers, viewer, words
from oinr_monai.report.answers import (
    _layer,
    _text,
    facts_of,
    report_of_answer,
    report_of_fit,
    shown,
)
from oinr_monai.report.figures import BINS, PIXELS, WIDTH, Plane, busiest, curves, spectrum, zooms
from oinr_monai.representation.representation import Representation
from oinr_monai.restoration.restored import HALF_WIDTH, HIDDEN, SHARE

pytest.importorskip("nilearn")

GRID = Grid((10, 12, 8), torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0])))


@pytest.fixture(scope="module")
def image() -> MetaTensor:
    generator = torch.Generator().manual_seed(0)
    return GRID.to_image(100 * torch.rand(1, *GRID.shape, generator=generator))


@pytest.fixture(scope="module")
def exact(image: MetaTensor) -> Representation:
    return fit(image)


def test_values_in_words() -> None:
    assert _text(0.1234567) == "0.12346"
    assert _text({"a": 1.0, "b": [1, 2.5]}) == "a 1, b 1 2.5"
    assert _text((True, "x", None)) == "True x None"
    assert _text(list(range(30))) == " ".join(map(str, range(20)))
    assert answers.told({"data_residual": 1.5, "gone": None}) == {"data residual": "1.5"}


def test_sizes_and_errors_in_words() -> None:
    assert [words.how_large(n) for n in (999, 1000, 999_950, 10**6, 10**9)] == [
        "999 bytes", "1.0 kB", "1000.0 kB", "1.0 MB", "1.0 GB",
    ]  # fmt: skip
    assert words.closeness(119.9) == "within 0.0001 % of the range"
    assert words.closeness(121.0) == "exact to rounding"
    assert words.closeness(20.0) == "within 10 % of the range"
    assert words.closeness(math.inf) == "exact"
    assert words.in_mm([0.123456, 10.0]) == "0.1235 x 10 mm"


def test_facts_are_those_of_the_representation(exact: Representation) -> None:
    facts = facts_of(exact, 1200)
    assert facts["voxels"] == "10 x 12 x 8"
    assert facts["spacing"] == "1 x 2 x 3 mm"
    assert facts["extent"] == "9 x 22 x 21 mm"
    assert facts["channels"] == "1"
    assert facts["numbers kept"] == f"{exact.parameters:,}"
    assert facts["file"] == "1.2 kB, 10 bits a voxel"
    assert "file" not in facts_of(exact, None)
    assert "settings" not in facts


def test_a_grid_that_is_too_large_is_shown_coarser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_VOXELS", 960)
    assert shown(GRID) is GRID
    monkeypatch.setattr(answers, "MOST_VOXELS", 120)
    coarse = shown(GRID)
    torch.testing.assert_close(coarse.spacing, 2 * GRID.spacing)
    flat = Grid((40, 1, 48), GRID.affine)
    torch.testing.assert_close(shown(flat).spacing, torch.tensor([4.0, 2.0, 12.0]).double())


def test_layers_have_their_colours_and_places(image: MetaTensor) -> None:
    two = GRID.to_image(torch.cat([image.as_tensor() - 60, image.as_tensor()]))
    plain = _layer("image", two)
    assert (plain.colormap, plain.window) == ("gray", None)
    assert torch.equal(plain.image.as_tensor(), two.as_tensor()[:1])
    assert torch.equal(plain.image.affine, GRID.affine)
    assert _layer(HALF_WIDTH, two).colormap == "hot"
    assert _layer(SHARE, two).window == (0.0, 1.0)
    most = float((image - 60).abs().max())
    signed = _layer("difference", two)
    assert (signed.colormap, signed.window) == ("blue2red", (-most, most))
    assert _layer("difference", two * 0).window == (-1.0, 1.0)
    flat_grid = Grid((10, 12), torch.tensor([[2.0, 0, 5], [0, 3, 7], [0, 0, 1]]).double())
    flat = _layer("image", flat_grid.to_image(image.as_tensor()[..., 0]))
    assert flat.image.shape == (1, 10, 12, 1)
    assert flat.image.affine.tolist() == [[2, 0, 0, 5], [0, 3, 0, 7], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_the_window_leaves_out_the_outermost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "LEFT_OUT", 0.1)
    values = torch.arange(101.0).numpy()
    assert viewer._window(values) == pytest.approx((10.0, 90.0))
    assert viewer._window(values * 0 + 3) == (3.0, 4.0)


def test_what_has_no_layer_or_no_volume_is_no_viewer(image: MetaTensor) -> None:
    with pytest.raises(ValueError, match="layers must be one or more"):
        viewer.viewer([])
    for wrong in (image[..., 0], torch.cat([image, image])):
        with pytest.raises(ValueError, match=r"image must be \(1, X, Y, Z\)"):
            viewer.viewer([viewer.Layer("a", wrong)])
    html = viewer.viewer([viewer.Layer("a & b", image)])
    assert "<button>a &amp; b</button>" in html
    ids = re.findall(r'id="([bcs])([0-9a-f]{32})"', html)
    assert sorted(kind for kind, _ in ids) == ["b", "c", "s"]
    for kind, key in ids:
        assert html.count(f"{kind}{key}") >= 2


def test_a_warning_where_there_is_something_to_beware_of(exact: Representation) -> None:
    def warned(**info: object) -> list[str]:
        page = Page("title", "lead")
        answers._warn(page, exact.of_field(exact.field, **info))
        return re.findall(r'<p class="warning">([^<]*)</p>', page.html())

    assert warned() == []
    deviation = exact.scale.std[0]
    assert warned(data_residual=0.04 * deviation) == []
    assert warned(data_residual=math.nan) == []
    (told,) = warned(data_residual=0.06 * deviation)
    assert f"differs by {0.06 * deviation:.3g} from what it saw, 6 %" in told
    assert warned(data_residual=deviation, noise={"model": "GaussianNoise", "sigma": 1.0}) == []
    assert len(warned(interrupted=True)) == 1


def test_what_is_on_a_page(exact: Representation, image: MetaTensor) -> None:
    alone = report_of_fit(exact).html()
    assert "<button>difference" not in alone
    assert alone.count("<h2>") == 5
    both = report_of_fit(exact, image, title="Mine").html()
    assert "<button>difference</button>" in both
    assert "<h1>Mine</h1>" in both
    assert "at the voxels" in both
    maps = {"error": image, "share": image, "hidden": image}
    answer = report_of_answer(exact, image, "Title", {"more": 3.0}, **maps).html()
    for name in ("answer", "input, by a spline", "difference", HALF_WIDTH, SHARE, HIDDEN):
        assert f"<button>{name}</button>" in answer
    assert "<tr><th>more</th><td>3</td></tr>" in answer


# ---- figures -------------------------------------------------------------------------------------


def test_a_plane_is_as_wide_as_it_says() -> None:
    grid = Grid((200, 100, 60), GRID.affine)
    middle = grid.to_world(torch.tensor([[100.0, 50, 30]]).double())[0]
    plane = Plane.through(grid, middle)
    assert (plane.up, plane.right) == (2, 0)
    left, right, low, high = plane.extent
    assert (left, low) == (0, 0)
    assert right == pytest.approx(WIDTH, abs=1)
    assert high == pytest.approx(WIDTH, abs=3)
    fine = WIDTH / PIXELS
    assert plane.grid.spacing.tolist() == pytest.approx([fine, 2.0, fine], rel=0.01)
    torch.testing.assert_close(plane.grid.points()[0, 0, 0, 1], middle[1])
    # At a corner it is cut off there.
    corner = Plane.through(grid, grid.to_world(torch.tensor([[-5.0, 500, 0]]).double())[0])
    assert corner.grid.origin.tolist() == [0, 198, 0]
    assert corner.extent[1] == pytest.approx(WIDTH / 2, abs=1)


def test_a_plane_of_a_picture_and_of_a_line() -> None:
    flat = Plane.through(Grid((30, 20), torch.diag(torch.tensor([1.0, 2.0, 1.0]))), torch.zeros(2))
    assert (flat.up, flat.right) == (1, 0)
    line = Plane.through(Grid((30,), torch.eye(2)), torch.zeros(1))
    assert (line.up, line.right) == (0, 0)
    values = fit(torch.arange(30.0)[None])
    assert line.pixels(values).shape == (line.grid.shape[0], 1)


def test_pixels_are_up_and_to_the_right(exact: Representation) -> None:
    plane = Plane.through(GRID, GRID.to_world(torch.tensor([[4.0, 6, 3]]).double())[0])
    figure = zooms({"one": exact, "other": exact}, GRID, plane.grid.origin)
    first, second = figure.axes
    assert [first.get_title(), second.get_title()] == ["one", "other"]
    pixels = first.images[0].get_array()
    own = Plane.through(GRID, plane.grid.origin).pixels(exact)
    assert pixels.shape == tuple(own.shape)
    assert first.images[0].get_clim() == pytest.approx((float(own.min()), float(own.max())))
    assert first.images[0].origin == "lower"


def test_curves_are_parts_of_the_voxels_and_power_in_the_axis(image: MetaTensor) -> None:
    figure = curves({"a": image, "b": 2 * image}, axis=1)
    left, right = figure.axes
    for line, factor in zip(left.lines, (1, 2), strict=True):
        x, y = line.get_data()
        assert len(x) == BINS
        assert (float(x[0]), float(x[-1])) == pytest.approx(
            (float(image.min()), 2 * float(image.max()))
        )
        assert float(y.sum()) == pytest.approx(1)
        assert float((x * y).sum()) == pytest.approx(factor * float(image.mean()), rel=0.02)
    frequencies, power = right.lines[0].get_data()
    wanted = spectrum(image.as_tensor()[0].movedim(1, -1), 2.0)
    torch.testing.assert_close(torch.as_tensor(frequencies), wanted[0])
    torch.testing.assert_close(torch.as_tensor(power), wanted[1])
    assert float(frequencies[-1]) == 0.25  # half a cycle in 2 mm


def test_white_noise_has_its_variance_at_each_frequency() -> None:
    lines = torch.randn(4000, 32, generator=torch.Generator().manual_seed(0))
    _, power = spectrum(lines + 50, 0.5)
    assert float(power[2:-1].mean()) == pytest.approx(0.5, rel=0.03)  # variance times spacing
    _, short = spectrum(torch.tensor([[1.0, -1.0]]), 1.0)
    assert short.tolist() == pytest.approx([0.0, 2.0])


def test_the_busiest_place_of_a_slice_is_in_it() -> None:
    values = torch.zeros(1, 20, 1, 12)
    values[:, 14:, :, :5] = 1
    point = busiest(MetaTensor(values, affine=GRID.affine))
    voxel = Grid((20, 1, 12), GRID.affine).to_voxel(point[None])[0]
    assert bool(((voxel - torch.tensor([13.5, 0, 4.5])).abs() <= 1.5).all())


def test_a_page_is_written_whole(exact: Representation, tmp_path: Path) -> None:
    report_of_fit(exact).write(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [each.name for each in tmp_path.iterdir()] == ["a.html"]

"""Checkpoints: what is written is read back bit for bit, and what does not fit is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from oinr_monai.fitting.checkpoint import read_checkpoint, write_checkpoint


class Made:
    """A small descent: its network, optimizer, and what a checkpoint keeps of it."""

    def __init__(self, steps: int = 0, stacked: bool = False, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 3, bias=False))
        self.optimizer = torch.optim.Adam(
            [{"params": list(part.parameters()), "peak": 0.1} for part in self.network], fused=True
        )
        self.score: float | Tensor = torch.tensor(-math.inf) if stacked else -math.inf
        self.weights: dict[str, Tensor] = {}
        self.steps = 0
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        torch.manual_seed(self.steps)
        self.optimizer.zero_grad()
        self.network(torch.randn(4, 3)).square().sum().backward()
        self.optimizer.step()
        self.steps += 1
        self.weights = {n: t.clone() for n, t in self.network.state_dict().items()}
        self.score = 3.25 if isinstance(self.score, float) else torch.tensor([1.0, -math.inf])

    def state(self) -> dict[str, Any]:
        return {
            "of": "the image and its settings",
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.steps,
            "elapsed": 0.1 * self.steps,
            "best": {"score": self.score, "weights": self.weights, "due": 0.05},
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["step"]
        self.score, self.weights = state["best"]["score"], state["best"]["weights"]

    def read(self, path: Path) -> dict[str, Any]:
        return read_checkpoint(path, self.state(), self.optimizer)


def equal(a: Made, b: Made) -> bool:
    pairs = zip(a.network.parameters(), b.network.parameters(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_a_descent_goes_on_bit_for_bit(tmp_path: Path, steps: int, stacked: bool) -> None:
    whole, part, again = Made(steps + 5), Made(steps, stacked), Made(0, stacked, seed=1)
    write_checkpoint(tmp_path / "a", part.state())
    state = again.read(tmp_path / "a")
    assert state["elapsed"] == part.state()["elapsed"]
    again.restore(state)
    assert again.state()["best"]["weights"].keys() == part.weights.keys()
    assert torch.equal(torch.as_tensor(again.score), torch.as_tensor(part.score))
    for _ in range(5):
        again.step()
    assert equal(again, whole)


def test_equal_states_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_checkpoint(tmp_path / name, Made(3).state())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_images_and_settings_are_told(tmp_path: Path) -> None:
    path, made = tmp_path / "a", Made(3)
    write_checkpoint(path, {**made.state(), "of": "the mirror image"})
    with pytest.raises(ValueError, match="must be of the same image and the same settings"):
        made.read(path)


Parts = tuple[dict[str, Any], dict[str, Tensor]]


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], object]) -> None:
    """Save the file again with another header or other tensors, and no checksum."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["checkpoint"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    header.pop("crc32", None)
    change(header, tensors)
    save_file(tensors, path, metadata={"checkpoint": json.dumps(header)})


def header(**items: object) -> Callable[[Path], None]:
    return lambda path: rewrite(
        path, lambda h, _: h.update({n.replace("_", "/"): v for n, v in items.items()})
    )


def tensor(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Path], None]:
    return lambda path: rewrite(path, lambda _, t: t.update({name: change(t[name]).contiguous()}))


def without(name: str) -> Callable[[Path], None]:
    def drop(h: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        for each in [n for n in tensors if n.startswith(name)]:
            del tensors[each]

    return lambda path: rewrite(path, drop)


def swapped(h: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Moments of the one layer's weights for those of the other's, of as many numbers."""
    a, b = "optimizer/0/exp_avg", "optimizer/2/exp_avg"
    tensors[a], tensors[b] = tensors[b], tensors[a]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:-20]),
    "one byte": lambda p: p.write_bytes(p.read_bytes()[:-1] + b"\x3c"),
    "empty": lambda p: p.write_bytes(b""),
    "a pickle": lambda p: torch.save({"of": "x"}, p),
    "swapped moments": lambda p: rewrite(p, swapped),
    "other shape": tensor("optimizer/0/exp_avg", lambda t: t[:1]),
    "longer": tensor("optimizer/0/exp_avg_sq", lambda t: torch.cat([t, t])),
    "negative square": tensor("optimizer/0/exp_avg_sq", lambda t: -1 - t),
    "other type": tensor("network/0.weight", lambda t: t.double()),
    "NaN in a weight": tensor("network/0.weight", lambda t: t * math.nan),
    "infinite best weight": tensor("best/weights/0.bias", lambda t: t + math.inf),
    "infinite moment": tensor("optimizer/1/exp_avg", lambda t: t + math.inf),
    "no weight": without("network/0.weight"),
    "half an entry": without("optimizer/0/exp_avg_sq"),
    "no moments": without("optimizer/"),
    "no best weights": without("best/weights/"),
    "moments of later steps": tensor("optimizer/0/step", lambda t: t + 9),
    "a step and a half": tensor("optimizer/0/step", lambda t: t - 0.5),
    "negative step": header(step=-1),
    "a step that is no number": header(step="3"),
    "a later step": header(step=4),
    "a true step": header(step=True),
    "a broken step": header(step=2.5),
    "a huge step": header(step=10**400),
    "elapsed NaN": header(elapsed=math.nan),
    "elapsed infinite": header(elapsed=math.inf),
    "elapsed negative": header(elapsed=-1e-9),
    "due late": header(best_due=1.5),
    "score NaN": header(best_score=math.nan),
    "score missing": header(best_score=None),
    "of a list": header(of=["the image"]),
    "more": header(more=1),
    "deep": header(of=json.loads("[" * 200 + "]" * 200)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    path, made = tmp_path / "fit.checkpoint", Made(3)
    write_checkpoint(path, made.state())
    DAMAGES[damage](path)
    with pytest.raises(ValueError, match=r"^checkpoint must .*fit\.checkpoint") as caught:
        made.read(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300


def test_scores_of_a_stack_are_as_many_as_its_networks(tmp_path: Path) -> None:
    path, made = tmp_path / "a", Made(3, stacked=True)
    write_checkpoint(
        path, {**made.state(), "best": {**made.state()["best"], "score": torch.zeros(3)}}
    )
    with pytest.raises(ValueError, match="best/score must have shape"):
        made.read(path)


@pytest.mark.parametrize("score", [math.inf, -math.inf])
def test_a_score_without_end_is_kept_in_strict_json(tmp_path: Path, score: float) -> None:
    made = Made(steps=2)
    made.score = score
    write_checkpoint(tmp_path / "a", made.state())
    with safe_open(tmp_path / "a", "pt") as file:
        for text in file.metadata().values():
            json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert made.read(tmp_path / "a")["best"]["score"] == score

"""``oinr doctor``: what is installed, what it runs on, and whether it answers rightly."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .console import show
from .options import Json

if TYPE_CHECKING:
    from oinr_monai.representation.representation import Representation

__all__ = ["CHECKS", "doctor"]

NAME = "oinr-monai"

# What a check may be off by, as a part of the range of what it asks: single precision, with room
# for differences and for conjugate gradients that are not run to their end.
TOLERANCE = 1e-2

# Of the differences that slopes are compared with, in mm.
STEP = 0.05


def doctor(as_json: Json = False) -> None:
    """Show versions, devices and extras, and check in a second that answers are right.

    Exits with 1 where a package is missing or too old, or an answer is wrong.
    """
    needed, extras = requirements()
    checks = {name: checked(check) for name, check in CHECKS.items()}
    wrong = [text for text in {**needed, **checks}.values() if text.startswith("WRONG")]
    show(
        {
            "oinr-monai": metadata.version(NAME),
            "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
            **needed,
            **{f"[{name}]": text for name, text in extras.items()},
            **devices(),
            **checks,
            "verdict": f"{len(wrong)} wrong, see above" if wrong else "all is right",
        },
        as_json,
    )
    if wrong:
        raise typer.Exit(1)


def requirements() -> tuple[dict[str, str], dict[str, str]]:
    """The version of each package that is needed, and what each extra lacks."""
    from packaging.requirements import Requirement

    needed: dict[str, str] = {}
    lacking: dict[str, list[str]] = {}
    of = metadata.metadata(NAME).get_all("Provides-Extra") or []
    for requirement in map(Requirement, metadata.requires(NAME) or []):
        found = _version(requirement.name)
        fits = found is not None and requirement.specifier.contains(found, prereleases=True)
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            said = found or "not installed"
            remedy = f"WRONG: {said}; pip install '{requirement}'"
            needed[requirement.name] = said if fits else remedy
            continue
        for extra in of:
            if marker.evaluate({"extra": extra}):
                lacking.setdefault(extra, []).extend([] if fits else [str(requirement.name)])
    return needed, {
        extra: f"without {', '.join(names)}; pip install '{NAME}[{extra}]'" if names else "there"
        for extra, names in lacking.items()
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def devices() -> dict[str, str]:
    """What computes: threads of the processor, and each CUDA device with its memory."""
    try:
        torch = import_module("torch")
    except ImportError:
        return {"cpu": "not known without torch"}
    found = {"cpu": f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"}
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        found[f"cuda:{index}"] = f"{card.name}, {card.total_memory / 2**30:.0f} GiB"
    return found if len(found) > 1 else {**found, "cuda": "none; all runs on the CPU"}


def checked(check: Callable[[], float | None]) -> str:
    """What a check found, in words with what it took; anything that it raises is its finding."""
    started = time.perf_counter()
    try:
        error = check()
    except Exception as error:
        return f"WRONG: {type(error).__name__}: {' '.join(str(error).split())}"
    took = f"{time.perf_counter() - started:.1f} s"
    if error is None:
        return f"done, {took}"
    said = f"within {error:.1g} of the range, {took}"
    return said if error <= TOLERANCE else f"WRONG: {said}, more than {TOLERANCE:g}"


def _is_imported() -> None:
    import_module("oinr_monai.names")


def _ball() -> tuple[Any, Representation]:
    """A round hill of whole numbers on an oblique grid, and it as a function."""
    torch, data, oinr = map(import_module, ("torch", "monai.data", "oinr_monai.names"))
    places = torch.meshgrid(*[torch.linspace(-1, 1, size) for size in (24, 20, 16)], indexing="ij")
    values = (1000 * torch.exp(-2 * sum(place**2 for place in places))).round()[None]
    affine = torch.tensor([[0.0, -1.2, 0, 9], [0.9, 0, 0.3, -4], [0.2, 0, -1.5, 7], [0, 0, 0, 1]])
    image = data.MetaTensor(values.to(torch.int16), affine=affine.double())
    return image, oinr.fit(image, oinr.FitConfig(device="cpu"))


def _passes_through_its_samples() -> float:
    image, ball = _ball()
    return float((ball.sample().as_tensor() - image.as_tensor()).abs().max()) / 1000


def _slopes_are_those_of_its_values() -> float:
    """By central differences, which are exact to the square of their step."""
    torch = import_module("torch")
    _, ball = _ball()
    points = ball.grid.to_world(torch.tensor([[8.3, 11.1, 5.2]], dtype=torch.float64))
    ways = STEP * torch.eye(3, dtype=torch.float64)
    off = ball.at(points + ways) - ball.at(points - ways)
    slopes = ball.gradient_at(points)
    return float((off[:, 0] / (2 * STEP) - slopes[0, 0]).abs().max()) / 1000


def _files_keep_every_bit() -> float:
    from oinr_monai.representation.representation import Representation

    _, ball = _ball()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ball.oinr"
        ball.save(file)
        again = Representation.load(file).sample().as_tensor()
    return float((again - ball.sample().as_tensor()).abs().max()) / 1000


def _thick_slices_are_answered() -> float:
    """By the weights that are shipped: as far from the slices as the answer has to be near."""
    oinr = import_module("oinr_monai.names")
    image, _ = _ball()
    thick = oinr.simulate_slices(image, 6.0)
    fine = oinr.super_resolve(thick, oinr.SuperResolveConfig(steps=0, device="cpu"))
    again = oinr.simulate_slices(fine.sample(oinr.Grid.from_image(image)), 6.0)
    return float((again.as_tensor() - thick.as_tensor()).abs().max()) / 1000


# Name as it is shown, and what it is off by, as a part of the range.
CHECKS: dict[str, Callable[[], float | None]] = {
    "import": _is_imported,
    "values": _passes_through_its_samples,
    "slopes": _slopes_are_those_of_its_values,
    "files": _files_keep_every_bit,
    "thick slices": _thick_slices_are_answered,
}

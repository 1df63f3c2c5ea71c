"""The command ``oinr denoise``: a noisy image in, a clean one out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .console import about, show
from .inputs import check_budget, check_grid, check_start, device_of
from .keeping import Resume, kept, stopped
from .options import IMAGE_SUFFIXES, Device, Json, Output, Overwrite, Report, Seed, SeriesUid
from .pages import check_page, page_of_answer, write_page
from .target import Belonging, Deidentify, Dicom, Target
from .trust import ErrorMap, Samples, Trust

if TYPE_CHECKING:
    from monai.data import MetaTensor
    from torch import Tensor

    from oinr_monai.representation.representation import Representation
    from oinr_monai.restoration.carried_denoiser import CarriedDenoiser
    from oinr_monai.restoration.denoising import DenoiseConfig
    from oinr_monai.restoration.restored import Restored
    from oinr_monai.scanner.noise import NoiseModel

__all__ = ["denoise"]


def denoise(  # noqa: PLR0913
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="NIfTI, NRRD, MHA, DICOM or PNG.")],
    output: Output,
    noise: Annotated[
        Literal["gaussian", "rician", "photon"], typer.Option(help="Rician for magnitude MRI.")
    ] = "gaussian",
    sigma: Annotated[
        float | None, typer.Option(metavar="S", help="Gaussian and Rician: size, else estimated.")
    ] = None,
    smoothing: Annotated[
        float | None,
        typer.Option(metavar="W", help="And by how many voxels it is smooth, else estimated."),
    ] = None,
    counts: Annotated[
        float | None, typer.Option(metavar="N", help="Photon: mean photons per unit of intensity.")
    ] = None,
    readout: Annotated[
        float | None, typer.Option(metavar="R", help="Photon: readout noise in photons; else 2.")
    ] = None,
    frame: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="One frame of a series, from 0; else all."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Steps to learn from it; volumes need none."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds to take for a frame, not steps.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="OPERATOR", help="What learn_denoising saved, to begin with; else ours."
        ),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(metavar="MASK", help="Image, nonzero where voxels count.")
    ] = None,
    error_map: ErrorMap = None,
    samples: Samples = 0,
    report: Report = None,
    uid: SeriesUid = None,
    resume: Resume = False,
    seed: Seed = 0,
    device: Device = "auto",
    dicom: Dicom = False,
    deidentify: Deidentify = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Remove noise from an image, each channel by itself, and from series.

    Volumes begin with an operator that learned from other scans. An output REP.oinr keeps the
    clean image as a function, for exact derivatives of it.
    Five channels or more are taken for the frames of a series: their differences tell sigma, and
    volumes are cleaned jointly where that pays, unless --steps, --seconds,
    --error-map or --samples is given.
    """
    check_budget(steps, seconds)
    belonging = Belonging(dicom, image, uid, deidentify)
    suffixes = (*IMAGE_SUFFIXES, ".oinr")
    target = Target.of(output, belonging, suffixes, [image, mask], overwrite)
    trust = Trust.of({"--error-map": error_map}, samples, output, [image, mask], overwrite)
    check_page(report, [image, mask], overwrite)
    model = _model(noise, sigma, smoothing, counts, readout)
    from dataclasses import replace

    from oinr_monai.images.files import read_image
    from oinr_monai.images.masks import read_mask
    from oinr_monai.restoration.denoising import DenoiseConfig
    from oinr_monai.restoration.series_denoising import is_series
    from oinr_monai.scanner.noise_level import FEWEST_REPEATS

    config = DenoiseConfig(model, steps, seconds, seed, device_of(device), _started(start))
    volume = read_image(image, uid or (), finite=mask is None)
    shown, grid = len(volume) if frame is None else 1, check_grid(image, volume)
    target.check(shown, grid, volume.meta, grid)
    trust.check(shown, grid)
    inside = None if mask is None else read_mask(mask, volume, uid or ())
    if len(volume) >= FEWEST_REPEATS:
        config = replace(config, noise=_of_all_frames(model, volume, inside))
    frames = _frames(image, volume, frame)
    as_function = output.name.lower().endswith(".oinr") and not dicom
    if as_function and len(frames) > 1:
        raise ValueError(f"--frame must be given for {output}, which holds one of {len(frames)}")
    with ExitStack() as stack:
        checkpoints = [stack.enter_context(kept(output, resume, i)) for i in range(len(frames))]
        with about(image):
            progress = not as_json and sys.stderr.isatty()
            trusts = trust.option is not None
            if is_series(volume, config) and not trusts:
                found, trusted = _jointly(volume, frame, config, inside)
            else:
                found, trusted = _each(frames, checkpoints, config, inside, progress, trusts)
        if found[-1].info.interrupted:
            stopped(found[-1].info["steps"], f"{output} is not written")
    target.write(found[0] if as_function else _together(volume, found), f"denoised, {noise}")
    layers = trust.write(trusted, seed)
    made = (found[0], frames[0], f"{image.name}, denoised", layers)
    page = write_page(report, partial(page_of_answer, *made))
    show({"output": str(output), "noise": noise, **_scores(found)} | page, as_json)


def _started(path: Path | None) -> CarriedDenoiser:
    from oinr_monai.restoration.carried_denoiser import CarriedDenoiser, shipped_denoiser

    return shipped_denoiser() if path is None else CarriedDenoiser.load(check_start(path))


def _model(
    noise: str,
    sigma: float | None,
    smoothing: float | None,
    counts: float | None,
    readout: float | None,
) -> NoiseModel:
    from oinr_monai.scanner.noise import GaussianNoise, PhotonNoise, RicianNoise

    if noise != "photon":
        if counts is not None or readout is not None:
            raise ValueError(f"--counts and --readout must go with --noise photon, got {noise}")
        return (GaussianNoise if noise == "gaussian" else RicianNoise)(sigma, smoothing)
    if sigma is not None or smoothing is not None:
        name = "--sigma" if sigma is not None else "--smoothing"
        raise ValueError(f"{name} must go with --noise gaussian or rician; give --counts")
    if counts is None:
        raise ValueError("--counts must be given with --noise photon")
    return PhotonNoise(counts, 2.0 if readout is None else readout)


def _of_all_frames(model: NoiseModel, series: MetaTensor, inside: Tensor | None) -> NoiseModel:
    # The noise of each frame, found from all of them.
    from dataclasses import replace

    estimated = model.estimated(series.as_tensor(), inside)
    sigma = getattr(estimated, "sigma", None)
    if isinstance(sigma, tuple):
        return replace(estimated, sigma=min(sigma))  # type: ignore[call-arg]
    return estimated


def _frames(path: Path, image: MetaTensor, frame: int | None) -> list[Tensor]:
    if frame is None:
        return [image[i : i + 1] for i in range(len(image))]
    if frame >= len(image):
        raise ValueError(f"{path}: --frame must be 0 to {len(image) - 1}, got {frame}")
    return [image[frame : frame + 1]]


def _jointly(
    series: MetaTensor, frame: int | None, config: DenoiseConfig, inside: Tensor | None
) -> tuple[list[Representation], list[Restored]]:
    from oinr_monai.images.meta import inherit
    from oinr_monai.representation.exact import spline_representation
    from oinr_monai.restoration.denoising import denoise as denoise_image

    whole = denoise_image(series, config, mask=inside)
    values, found = whole.sample().as_tensor(), []
    info = whole.info | {"seconds": round(whole.info["seconds"] / len(values), 3)}
    for i in range(len(values)) if frame is None else [frame]:
        one = spline_representation(values[i : i + 1], whole.grid, info)
        found.append(inherit(one, series[i : i + 1]))
    return found, []


def _each(
    frames: list[Tensor],
    checkpoints: list[Path],
    config: DenoiseConfig,
    inside: Tensor | None,
    progress: bool,
    trusts: bool,
) -> tuple[list[Representation], list[Restored]]:
    from oinr_monai.restoration.denoising import denoise as denoise_image
    from oinr_monai.restoration.denoising import denoise_trusted

    found: list[Representation] = []
    trusted: list[Restored] = []
    for frame, path in zip(frames, checkpoints, strict=True):
        if trusts:
            each = denoise_trusted(frame, config, mask=inside, checkpoint=path, progress=progress)
            found.append(each.answer)
            trusted.append(each)
        else:
            clean = denoise_image(frame, config, mask=inside, checkpoint=path, progress=progress)
            found.append(clean)
        if found[-1].info.interrupted:
            break
    return found, trusted


def _together(image: MetaTensor, found: list[Representation]) -> MetaTensor:
    import torch
    from monai.data import MetaTensor

    return MetaTensor(torch.cat([each.sample().as_tensor() for each in found]), meta=image.meta)


def _scores(found: list[Representation]) -> dict[str, Any]:
    one: Callable[[str], list[Any]] = lambda name: [each.info[name] for each in found]  # noqa: E731
    sigmas = [each.info["noise"].get("sigma") for each in found]
    return {
        "frames": len(found),
        "sigma": None if None in sigmas else [_number(each) for each in sigmas],
        "smoothing": found[0].info["noise"].get("smoothing"),
        "risk": one("risk"),
        "steps": sum(one("steps")),
        "seconds": round(sum(one("seconds")), 3),
        "device": found[0].info["device"],
    }


def _number(sigma: float | list[float]) -> float:
    return sigma[0] if isinstance(sigma, list) else sigma

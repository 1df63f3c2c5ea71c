"""A page says what was made, shows it in the right place, and needs nothing beside it."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from oinr_monai import FitConfig, Grid, Representation, fit
from oinr_monai.cli.app import main
from oinr_monai.images.files import write_image
from oinr_monai.report import Page, report_of_answer, report_of_fit
from oinr_monai.report.figures import Plane, busiest, spectrum
from oinr_monai.report.viewer import MOST_VOXELS, Layer, thinned, viewer

pytest.importorskip("nilearn")

AFFINE = torch.tensor(
    [[0.0, -2.0, 0.0, 7.0], [1.0, 0.0, 0.0, -3.0], [0.0, 0.0, 3.0, 5.0], [0, 0, 0, 1]]
)


@pytest.fixture(scope="module")
def image() -> MetaTensor:
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in (10, 12, 8)], indexing="ij")
    return MetaTensor(100 * torch.exp(-4 * (x**2 + y**2 + z**2))[None], affine=AFFINE)


@pytest.fixture(scope="module")
def exact(image: MetaTensor) -> Representation:
    return fit(image, FitConfig(preset="exact"))


def test_no_text_of_a_stranger_becomes_code(image: MetaTensor) -> None:
    hostile = "</script><script>alert(1)</script>"
    page = Page(hostile, hostile)
    page.say(hostile)
    page.warn(hostile)
    page.facts(hostile, {hostile: hostile})
    page.table(hostile, [hostile], [[hostile]])
    page.add("look", viewer([Layer(hostile, image)]))
    assert hostile not in page.html()
    assert "<script>alert" not in page.html()


def test_a_page_names_no_other_place() -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', Page("a", "b").html())
    assert policy is not None
    assert "http" not in policy[1]
    assert policy[1].startswith("default-src &#x27;none&#x27;;")


def test_the_viewer_holds_the_volume(image: MetaTensor) -> None:
    html = viewer([Layer("scan", image), Layer("map", image, "inferno", (0.0, 5.0))])
    found = re.search(r"const layers = (\[.*?\]), status", html)
    assert found is not None
    scan, other = json.loads(found[1])
    assert (other["colormap"], other["window"]) == ("inferno", [0.0, 5.0])
    stored = nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(scan["data"])))
    np.testing.assert_allclose(stored.affine, AFFINE.numpy())
    step = float(image.max() - image.min()) / 255
    np.testing.assert_allclose(stored.get_fdata(), image[0].numpy(), atol=0.501 * step)


def test_a_thinned_volume_lies_where_the_whole_one_did() -> None:
    n = int(MOST_VOXELS ** (1 / 3)) + 1
    axis = torch.arange(n, dtype=torch.float32)
    plane = (axis[:, None, None] + 2 * axis[:, None] + 3 * axis)[None]
    whole = MetaTensor(plane, affine=AFFINE)
    thin = thinned(whole)
    assert thin.numel() <= MOST_VOXELS
    # A mean over a block of a linear function is the function at the block's centre.
    inner = (0, 3, 5, 7)
    voxel = Grid.from_image(whole).to_voxel(
        Grid.from_image(thin).to_world(torch.tensor([inner[1:]]).double())
    )[0]
    assert float(thin[inner]) == pytest.approx(float(voxel @ torch.tensor([1.0, 2, 3]).double()))


def test_the_busiest_place_is_where_the_edge_is() -> None:
    values = torch.zeros(1, 20, 16, 12)
    values[:, 12:15, 5:8, 4:7] = 1
    point = busiest(MetaTensor(values, affine=AFFINE))
    voxel = Grid((20, 16, 12), AFFINE).to_voxel(point[None])[0]
    assert bool(((voxel - torch.tensor([13.0, 6, 5])).abs() <= 1.5).all())


def test_a_plane_lies_along_the_thickest_axis(exact: Representation) -> None:
    point = exact.grid.to_world(torch.tensor([[4.0, 6, 3]]).double())[0]
    plane = Plane.through(exact.grid, point)
    assert (plane.up, plane.right) == (2, 0)
    pixels = plane.pixels(exact)
    points = plane.grid.points()
    assert plane.grid.shape[1] == 1
    assert pixels.shape == (plane.grid.shape[2], plane.grid.shape[0])
    row, column = 17, 30
    here = exact.at(points[column, 0, row][None])
    torch.testing.assert_close(pixels[row, column], here[0, 0])


def test_a_spectrum_has_the_power_of_its_line_at_any_spacing() -> None:
    power = {}
    for spacing in (0.5, 1.0):
        x = torch.arange(0, 128, spacing, dtype=torch.float64)
        frequencies, density = spectrum(torch.sin(2 * torch.pi * 0.125 * x)[None], spacing)
        assert float(frequencies[density.argmax()]) == pytest.approx(0.125)
        power[spacing] = float(density.max())
    assert power[0.5] == pytest.approx(power[1.0], rel=0.02)


def test_reports_say_what_there_is(
    exact: Representation, image: MetaTensor, tmp_path: Path
) -> None:
    fitted = report_of_fit(exact, image, size=1234).html()
    assert "10 x 12 x 8" in fitted
    assert "1 x 2 x 3 mm" in fitted
    assert "1.2 kB" in fitted
    interrupted = exact.of_field(exact.field, interrupted=True)
    assert "interrupted" in report_of_answer(interrupted, image, "Denoised").html()
    flat = fit(image[..., 0], FitConfig(preset="exact"))
    report_of_fit(flat, image[..., 0]).write(tmp_path / "flat.html")
    assert "canvas" in (tmp_path / "flat.html").read_text()


@pytest.mark.parametrize("made", ["fit.oinr", "answer.nii.gz"])
def test_the_command(
    made: str,
    exact: Representation,
    image: MetaTensor,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exact.save(tmp_path / "fit.oinr")
    write_image(tmp_path / "answer.nii.gz", image)
    write_image(tmp_path / "scan.nii.gz", image)
    output = tmp_path / "report.html"
    line = ["report", str(tmp_path / made), "-o", str(output), "--json"]
    assert main([*line, "--image", str(tmp_path / "scan.nii.gz")]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == output.stat().st_size < 8e6
    for option, name in (("--error-map", "half width of the 90 %"), ("--hidden", "small ball")):
        mapped = main([*line, "--image", str(tmp_path / "scan.nii.gz"), option, line[1]])
        assert (mapped, name in output.read_text()) == (
            (0, True) if made == "answer.nii.gz" else (2, False)
        )
    assert main([*line, "--image", str(tmp_path / "nothing.nii.gz")]) == 2
    assert main([*line[:3], str(tmp_path / "report.png")]) == 2
    if made == "answer.nii.gz":
        capsys.readouterr()
        assert main(line) == 2
        assert "--image must be what answer.nii.gz was made of" in capsys.readouterr().err

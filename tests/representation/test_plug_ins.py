"""A field, an operator and a kernel of another package, which its entry points make known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch

import oinr_monai
from oinr_monai import ConvOINR, FitConfig, Representation, fit, testing
from oinr_monai.grids import Lattice
from oinr_monai.representation import plug_ins
from oinr_monai.representation.registry import build, describe

SOURCE = '''
"""A field of Gaussian bumps, a local operator, one of whole lattices, and a kernel."""

import torch
from torch import nn

from oinr_monai import Field
from oinr_monai.grids.jets import second_order_pairs
from oinr_monai.operators import KernelNetwork, LatticeOperator, LocalOperator
from oinr_monai.operators.integral import KernelIntegral


class BumpField(Field):
    """Gaussian bumps, with learned centres and one width in mm."""

    def __init__(self, extent, channels, width):
        super().__init__()
        self.extent, self.width = tuple(extent), float(width)
        self.spatial_dims, self.channels = len(self.extent), channels
        span = torch.tensor(self.extent)
        self.centres = nn.Parameter(torch.rand(channels, len(self.extent)) * span)

    def forward(self, positions, order=0):
        x = torch.stack(
            [
                positions.spread(axis[:, None], d)[..., 0].expand(positions.shape)
                for d, axis in enumerate(positions.axes)
            ]
        )
        centres = self.centres.view(*self.centres.shape, *[1] * (x.ndim - 1))
        u = (x.to(self.centres.dtype) - centres) / self.width
        value = torch.exp(-u.square().sum(1) / 2)
        jet = [value]
        if order > 0:
            jet += [-u[:, d] / self.width * value for d in range(self.spatial_dims)]
        if order > 1:
            jet += [
                (u[:, i] * u[:, j] - float(i == j)) / self.width**2 * value
                for i, j in second_order_pairs(self.spatial_dims)
            ]
        return torch.stack(jet)

    def arguments(self):
        return {"extent": list(self.extent), "channels": self.channels, "width": self.width}


class TwoStep(LocalOperator):
    """A kernel of a given width, a sine, and a matrix."""

    def __init__(self, spatial_dims, in_channels, out_channels, hidden=6, width=3):
        super().__init__()
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.out_channels, self.channels = out_channels, (hidden,)
        self.omega_0, self.padding, self.width = 2.0, "valid", width
        self.layers = nn.ModuleList(
            [
                KernelIntegral(spatial_dims, in_channels, hidden, width),
                KernelIntegral(spatial_dims, hidden, out_channels),
            ]
        )
        self.start()

    def with_spacing(self, spacing):
        return self

    def arguments(self):
        return {
            "spatial_dims": self.spatial_dims,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "hidden": self.channels[0],
            "width": self.width,
        }


class MeanField(LatticeOperator):
    """A matrix on the field beside its mean over the lattice, and another on their tanh."""

    def __init__(self, spatial_dims, in_channels, out_channels, channels=4):
        super().__init__()
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.out_channels, self.channels = out_channels, channels
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[spatial_dims - 1]
        self.mix = conv(2 * in_channels, channels, 1)
        self.project = conv(channels, out_channels, 1)

    def hidden(self, field):
        mean = field.mean(tuple(range(2, field.ndim)), keepdim=True).expand_as(field)
        return torch.tanh(self.mix(torch.cat([field, mean], dim=1)))

    def arguments(self):
        names = ("spatial_dims", "in_channels", "out_channels", "channels")
        return {name: getattr(self, name) for name in names}


class CosineKernel(KernelNetwork):
    """Cosines of affine maps."""

    def __init__(self, spatial_dims, out_channels, hidden_channels=4):
        super().__init__(spatial_dims, out_channels, hidden_channels, 1)
        self.linear = nn.Linear(spatial_dims, hidden_channels)

    def hidden(self, offsets):
        return torch.cos(self.linear(offsets))

    def arguments(self):
        return {"hidden_channels": self.hidden_channels}
'''

ENTRY_POINTS = """
[oinr_monai.fields]
BumpField = bumps_of_another:BumpField

[oinr_monai.operators]
TwoStep = bumps_of_another:TwoStep
MeanField = bumps_of_another:MeanField

[oinr_monai.kernels]
CosineKernel = bumps_of_another:CosineKernel
"""


def install(
    folder: Path, source: str | None = None, entry_points: str = "", name: str = "bumps"
) -> None:
    """A package of one module on a path, with the metadata that pip would write."""
    if source is not None:
        (folder / "bumps_of_another.py").write_text(source)
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(dedent(entry_points))


def on_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.syspath_prepend(str(folder))
    plug_ins._offered.cache_clear()


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    plug_ins._offered.cache_clear()
    sys.modules.pop("bumps_of_another", None)


@pytest.fixture
def bumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    install(tmp_path, SOURCE, ENTRY_POINTS)
    on_path(monkeypatch, tmp_path)
    import bumps_of_another  # type: ignore[import-not-found]

    return bumps_of_another


def settings(bumps: Any) -> dict[str, dict[str, Any]]:
    def field(grid: oinr_monai.Grid) -> oinr_monai.Field:
        return bumps.BumpField(grid.extent.tolist(), channels=5, width=4.0)

    return {
        "local": {"encoding": field, "network": partial(bumps.TwoStep, hidden=5)},
        "lattice": {"encoding": field, "network": bumps.MeanField},
        "kernel": {
            "network": partial(
                oinr_monai.CKConvOINR,
                channels=(4,),
                support=(1.5, 0),
                kernel=partial(bumps.CosineKernel, hidden_channels=3),
            )
        },
    }


@pytest.mark.parametrize("kind", ["local", "lattice", "kernel"])
def test_parts_of_a_plug_in_fit_save_and_load(bumps: Any, kind: str, tmp_path: Path) -> None:
    image = torch.rand(1, 12, 13)
    before = fit(image, FitConfig("fast", steps=0, **settings(bumps)[kind]))
    fitted = fit(image, FitConfig("fast", steps=20, **settings(bumps)[kind]))
    assert fitted.info["psnr_grid"] > before.info["psnr_grid"]
    fitted.save(tmp_path / "rep.oinr")
    again = Representation.load(tmp_path / "rep.oinr")
    assert torch.equal(again.hessian().as_tensor(), fitted.hessian().as_tensor())


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_parts_of_a_plug_in_pass_the_laws(bumps: Any, dims: int) -> None:
    axes = (3.1 + 0.8 * torch.arange(2.0 + d).double() for d in range(dims))
    extent = (9.0, 8.0, 10.0)[:dims]
    testing.field_laws(bumps.BumpField(extent, channels=3, width=2.5), Lattice(tuple(axes)))
    testing.local_operator_laws(bumps.TwoStep(dims, 3, 2))
    testing.lattice_operator_laws(bumps.MeanField(dims, 3, 2), (5, 4, 6)[:dims])
    testing.kernel_laws(bumps.CosineKernel(dims, 6))


def shell(command: list[str], *path: Path) -> subprocess.CompletedProcess[str]:
    roots = [Path(oinr_monai.__file__).parents[1], *path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, roots))}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, env=environment
    )


def test_a_new_process_opens_its_file_and_refuses_it_without_the_entry_point(
    bumps: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path / "rep.oinr"
    fitted = fit(torch.rand(1, 10, 11), FitConfig("fast", steps=2, **settings(bumps)["local"]))
    fitted.save(path)
    code = (
        "import sys, torch; from oinr_monai import Representation; "
        "print(Representation.load(sys.argv[1]).sample().sum().item())"
    )
    opened = shell(["-c", code, str(path)], tmp_path)
    assert float(opened.stdout) == fitted.sample().sum().item(), opened.stderr
    # The module alone is not enough: a file cannot name what no package offers.
    elsewhere = tmp_path_factory.mktemp("not_installed")
    (elsewhere / "bumps_of_another.py").write_text(SOURCE)
    refused = shell(["-m", "oinr_monai", "info", str(path)], elsewhere)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert len(refused.stderr.splitlines()) == 1
    assert "got 'BumpField'; install the package that offers it" in refused.stderr


def test_only_the_plug_in_that_is_asked_for_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "[oinr_monai.fields]\nBroken = not_there:Broken\n[oinr_monai.operators]\nX = y:z\n"
    install(tmp_path, entry_points=broken)
    on_path(monkeypatch, tmp_path)
    reads: list[str] = []
    read = plug_ins.entry_points
    monkeypatch.setattr(
        plug_ins, "entry_points", lambda group: reads.append(group) or read(group=group)
    )
    operator = ConvOINR(1, 1, 1, (2,))
    assert describe(build(describe(operator))) == describe(operator)
    assert not reads
    for _ in range(2):
        with pytest.raises(ValueError, match="class must be one of"):
            build({"class": "Nobody", "arguments": {}})
    assert sorted(reads) == sorted(plug_ins.GROUPS)


@pytest.mark.parametrize(
    ("entry_points", "message"),
    [
        ("Bump = not_there:Bump", "plug-in Bump of bumps must load, got ModuleNotFoundError: "),
        ("Bump = bumps_of_another:Bump", "plug-in Bump of bumps must load, got RuntimeError: a b$"),
        ("Bump = json:loads", "plug-in Bump of bumps must be a concrete Field of that name, got <"),
        ("Bump = oinr_monai:Field", "plug-in Bump of bumps must be a concrete Field of that name"),
        ("Bump = oinr_monai:SplineField", "must be a concrete Field of that name"),
        ("Bump = oinr_monai:ConvOINR", "plug-in Bump of bumps must be a concrete Field"),
    ],
)
def test_a_broken_plug_in_is_named_with_its_package(
    entry_points: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, 'raise RuntimeError("a\\nb")', f"[oinr_monai.fields]\n{entry_points}\n")
    on_path(monkeypatch, tmp_path)
    with pytest.raises(ValueError, match=message.removesuffix("$")) as caught:
        build({"class": "Bump", "arguments": {}})
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("; mend or uninstall the package")


def test_a_name_that_two_packages_offer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, group in (("bumps", "fields"), ("humps", "operators")):
        install(tmp_path, entry_points=f"[oinr_monai.{group}]\nBump = x:Bump\n", name=name)
    on_path(monkeypatch, tmp_path)
    with pytest.raises(ValueError, match="Bump must be offered once, got it from bumps and humps"):
        build({"class": "Bump", "arguments": {}})


def test_our_names_stay_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from oinr_monai import ConvOINR as Ours\nclass ConvOINR(Ours): pass\n"
    install(tmp_path, source, "[oinr_monai.operators]\nConvOINR = bumps_of_another:ConvOINR\n")
    on_path(monkeypatch, tmp_path)
    description = describe(ConvOINR(1, 1, 1, (2,)))
    assert type(build(json.loads(json.dumps(description)))) is ConvOINR
    from bumps_of_another import ConvOINR as Theirs  # type: ignore[import-not-found]

    with pytest.raises(ValueError, match=r"ConvOINR is the name of oinr_monai.* choose another"):
        fit(torch.rand(1, 8, 8), FitConfig("fast", steps=1, network=partial(Theirs, kernel_size=1)))

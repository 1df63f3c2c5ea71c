"""Phantoms with exact derivatives, affines, a seeded generator and the optional example data."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.phantoms import GaussianBlob, rotation


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=20, help="moments for each signal")


def pytest_configure() -> None:
    # Tests work on small tensors, where threads only wait for each other, by far on a busy machine.
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is tested speaks to another machine."""
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, _at_home(getattr(socket.socket, name)))


def _at_home(call: Callable[..., Any]) -> Callable[..., Any]:
    def checked(self: socket.socket, *arguments: Any) -> Any:
        if self.family != socket.AF_UNIX and not _is_here(arguments[-1][0]):
            pytest.fail(f"a test must not speak to other machines, got {arguments[-1]}")
        return call(self, *arguments)

    return checked


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture
def gaussian_blob() -> Callable[..., GaussianBlob]:
    """``gaussian_blob(spatial_dims)``: an oblique blob, 4 to 7 mm wide, off the origin."""

    def make(spatial_dims: int = 3) -> GaussianBlob:
        widths = torch.tensor([5.0, 4.0, 7.0], dtype=torch.float64)[:spatial_dims]
        axes = rotation(0.4, -0.3, 0.7)[:spatial_dims, :spatial_dims]
        axes = torch.linalg.qr(axes).Q
        center = torch.tensor([1.5, -2.0, 0.5], dtype=torch.float64)[:spatial_dims]
        return GaussianBlob(center, axes @ torch.diag(widths**-2) @ axes.T, amplitude=100.0)

    return make


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20240721)


@pytest.fixture
def oblique_affine() -> Tensor:
    """Rotated about three axes, voxels of 0.9 x 1.1 x 2.5 mm, left-handed, off the origin."""
    affine = torch.eye(4, dtype=torch.float64)
    spacing = torch.tensor([-0.9, 1.1, 2.5], dtype=torch.float64)
    affine[:3, :3] = rotation(0.3, -0.5, 0.2) * spacing
    affine[:3, 3] = torch.tensor([31.25, -47.5, 12.125], dtype=torch.float64)
    return affine


@pytest.fixture
def sheared_affine(oblique_affine: Tensor) -> Tensor:
    """The oblique affine with slices that slide by 0.4 mm along x: a tilted gantry."""
    sheared = oblique_affine.clone()
    sheared[:3, 2] += torch.tensor([0.4, 0.0, 0.0], dtype=torch.float64)
    return sheared


@pytest.fixture
def shared_data() -> Path:
    """A folder of real volumes beside the repository, which not everyone has."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no shared/data beside the repository")
    return folder

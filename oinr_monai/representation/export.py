"""A representation as one PyTorch module, and as a file that runs without this package."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from oinr_monai.grids.positions import Scatter
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.replacing import replacing

from .representation import Representation

__all__ = ["WorldSignal", "export_signal"]


class WorldSignal(nn.Module):
    """Intensities at world points: field, operator, affine and intensity scale in one module.

    It agrees with :meth:`Representation.at` to rounding, beyond the image too: over the half voxel
    past the outermost voxel centres it keeps the border's value, farther out it is the image's
    minimum. Affine and scale are buffers, so that a state dict is complete.

    Args:
        representation: the representation, which keeps its own weights.

    Example:
        >>> from oinr_monai import FitConfig, fit
        >>> wave = torch.sin(torch.linspace(0, 6, 16))[None, :, None].expand(1, 16, 16)
        >>> signal = WorldSignal(fit(wave, FitConfig(preset="fast", steps=20)))
        >>> signal(torch.tensor([[1.5, 2.0], [3.0, 4.0]])).shape
        torch.Size([2, 1])
    """

    world_to_voxel: Tensor
    origin: Tensor
    spacing: Tensor
    last: Tensor
    mean: Tensor
    std: Tensor
    outside: Tensor

    def __init__(self, representation: Representation) -> None:
        super().__init__()
        representation = representation.to("cpu")
        grid, scale = representation.grid, representation.scale
        self.spatial_dims = grid.spatial_dims
        self.field = representation.field
        self.field.settle()
        self.register_buffer("world_to_voxel", torch.linalg.inv(grid.matrix).contiguous())
        self.register_buffer("origin", grid.origin.clone())
        self.register_buffer("spacing", grid.spacing)
        self.register_buffer("last", torch.tensor(grid.shape, dtype=torch.float64) - 1)
        kind = torch.float64 if scale.wide else torch.float32
        for name in ("mean", "std", "outside"):
            self.register_buffer(name, torch.tensor(getattr(scale, name), dtype=kind))

    def forward(self, points: Tensor) -> Tensor:
        """Intensities (N, C) at world points (N, D) in mm."""
        voxels = (points.double() - self.origin) @ self.world_to_voxel.T
        inside = ((voxels >= -0.5) & (voxels <= self.last + 0.5)).all(dim=1, keepdim=True)
        clamped = torch.minimum(voxels.clamp_min(0), self.last) * self.spacing
        value = self.field(Scatter(tuple(clamped.unbind(1))))[0].T
        return torch.where(inside, value * self.std + self.mean, self.outside)


@full_precision()
def export_signal(representation: Representation, path: str | os.PathLike[str]) -> None:
    """Write a representation for use without this package, for any number of world points.

    The program takes ``points`` (N, D), float32 in world mm, and returns ``intensities`` (N, C).

    Args:
        representation: the representation.
        path: a ``.pt2`` file, for ``torch.export.load``, or an ``.onnx`` file, which needs
            ``pip install oinr-monai[onnx]``.

    Raises:
        ValueError: if the file's ending is another.

    Example:
        >>> import tempfile
        >>> from oinr_monai import FitConfig, fit
        >>> trained = fit(torch.rand(1, 9, 9), FitConfig("fast", steps=2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export_signal(trained, f"{folder}/signal.pt2")
        ...     program = torch.export.load(f"{folder}/signal.pt2").module()
        >>> program(torch.tensor([[1.5, 2.5], [3.0, 4.0]])).shape
        torch.Size([2, 1])
    """
    path = Path(path)
    if path.suffix not in (".onnx", ".pt2"):
        raise ValueError(f"path must end in .onnx or .pt2, got {path}")
    signal = WorldSignal(representation).eval()
    program = torch.export.export(
        signal,
        (torch.zeros(8, signal.spatial_dims),),
        dynamic_shapes={"points": {0: torch.export.Dim("N", min=1)}},
    )
    write = torch.export.save if path.suffix == ".pt2" else _save_onnx
    with replacing(path) as temporary:
        write(program, temporary)


def _save_onnx(program: torch.export.ExportedProgram, path: Path) -> None:
    with warnings.catch_warnings():
        # torch's exporter calls deprecated parts of torch
        warnings.simplefilter("ignore", FutureWarning)
        torch.onnx.export(
            program,
            f=path,
            input_names=["points"],
            output_names=["intensities"],
            dynamo=True,
            external_data=False,
            verbose=False,
        )

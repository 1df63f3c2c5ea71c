"""The options that say how good the samples of a closed form have to stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from oinr_monai.coding.quality import Quality

__all__ = ["Asked", "Bits", "Degree", "Lossless", "MaxError", "Psnr"]

Lossless = Annotated[
    bool, typer.Option("--lossless", help="Keep every bit, as is done of whole numbers anyway.")
]

MaxError = Annotated[
    float | None,
    typer.Option(metavar="E", help="Keep every voxel to within E; 1e-5 of the range of others."),
]

Psnr = Annotated[float | None, typer.Option(metavar="DB", help="Keep so many dB.")]

Bits = Annotated[float | None, typer.Option(metavar="B", help="Keep at most B bits a voxel.")]

Degree = Annotated[
    int, typer.Option(metavar="3|5", help="Degree of the spline through the samples.")
]


@dataclass(frozen=True)
class Asked:
    """What the options ask for.

    Args:
        lossless: whether ``--lossless`` was given.
        max_error: that of ``--max-error``.
        psnr: that of ``--psnr``.
        bits: that of ``--bits``.

    Raises:
        ValueError: if more than one was given.
    """

    lossless: bool
    max_error: float | None
    psnr: float | None
    bits: float | None

    def __post_init__(self) -> None:
        if len(self.given) > 1:
            raise ValueError(f"{' and '.join(self.given)} must not be given together; choose one")

    @property
    def given(self) -> list[str]:
        """Names of the options that were given."""
        numbers = {"--max-error": self.max_error, "--psnr": self.psnr, "--bits": self.bits}
        others = [name for name, value in numbers.items() if value is not None]
        return ["--lossless", *others] if self.lossless else others

    def quality(self, preset: str | None) -> Quality | None:
        """As :meth:`Representation.save` takes it.

        Raises:
            ValueError: if one was given, and the preset trains.
        """
        from oinr_monai.coding import quality

        if self.given and preset != "exact":
            raise ValueError(
                f"{self.given[0]} must go with preset exact, got {preset}, whose weights are kept "
                "as they are"
            )
        if self.lossless:
            return quality.Lossless()
        if self.max_error is not None:
            return quality.MaxError(self.max_error)
        if self.psnr is not None:
            return quality.Psnr(self.psnr)
        return None if self.bits is None else quality.Bits(self.bits)

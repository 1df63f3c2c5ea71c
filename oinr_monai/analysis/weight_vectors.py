"""Representations as vectors: their weights for scikit-learn, and how far apart two of them are."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.grids.precision import full_precision
from oinr_monai.representation.lineage import digest, fitted_names, origin, trained_field
from oinr_monai.representation.registry import describe
from oinr_monai.representation.representation import Representation

if TYPE_CHECKING:
    from typing import Self

    from sklearn.utils import Tags

__all__ = ["WeightVectors", "function_distance", "weight_distance", "weight_names", "weight_vector"]


@full_precision()
def weight_vector(representation: Representation, start: Representation | None = None) -> Tensor:
    """The fitted parameters as one vector, in the order of :func:`fitted_names`.

    Each tensor is flattened in C order (the last axis fastest). Weights of fits that started at
    random are comparable in name only: an operator keeps its function when its units change places.
    From a shared start every number keeps its part, and the difference from it is what was learned.

    Args:
        representation: the representation.
        start: what it started from; the vector is then the difference from it.

    Returns:
        Vector (P,), on the CPU.

    Raises:
        ValueError: if the two are not of one architecture.

    Example:
        >>> from oinr_monai import FitConfig, fit
        >>> wave = torch.sin(torch.linspace(0, 6, 16))[None, :, None].expand(1, 16, 16)
        >>> representation = fit(wave, FitConfig(preset="fast", steps=5))
        >>> len(weight_vector(representation)) == representation.parameters
        True
    """
    names = fitted_names(representation)
    vector = _flat(representation, names)
    if start is None:
        return vector
    check_comparable(representation, start)
    _check_start(representation, start)
    return vector - _flat(start, names)


def weight_names(representation: Representation) -> list[str]:
    """Name of each number of :func:`weight_vector`, such as ``network.layers.0.bias[3]``."""
    parameters = dict(representation.field.named_parameters())
    return [
        f"{name}[{','.join(map(str, place))}]"
        for name in fitted_names(representation)
        for place in np.ndindex(*parameters[name].shape)
    ]


def _flat(representation: Representation, names: Sequence[str]) -> Tensor:
    parameters = dict(representation.field.named_parameters())
    return torch.cat([parameters[name].detach().cpu().flatten() for name in names])


def _architecture(representation: Representation) -> tuple[Any, ...]:
    field = trained_field(representation)
    return describe(field.encoding), describe(field.network), field.spacing


def check_comparable(representation: Representation, other: Representation) -> None:
    """Check that two representations hold the same parameters.

    Raises:
        ValueError: if their fields, operators or node spacings differ, or what was fitted.
    """
    mine, others = _architecture(representation), _architecture(other)
    if mine != others:
        parts = ("field", "operator", "spacing")
        part = next(p for p, a, b in zip(parts, mine, others, strict=True) if a != b)
        raise ValueError(
            f"representations must be of one architecture to compare their weights, got another "
            f"{part}; fit all of them with the same settings on grids of one shape and spacing"
        )


def _check_start(representation: Representation, start: Representation) -> None:
    kind, known = origin(representation)
    if kind == "start" and known != digest(start):
        warnings.warn(
            f"start must be what the representation started from, got {digest(start)} "
            f"instead of {known}: their difference mixes both",
            stacklevel=3,
        )


def weight_distance(first: Representation, second: Representation) -> float:
    """Euclidean distance of the fitted parameters.

    Raises:
        ValueError: if the two are not of one architecture.

    Example:
        >>> from oinr_monai import FitConfig, fit
        >>> wave = torch.sin(torch.linspace(0, 6, 16))[None, :, None].expand(1, 16, 16)
        >>> representation = fit(wave, FitConfig(preset="fast", steps=5))
        >>> weight_distance(representation, representation)
        0.0
    """
    check_comparable(first, second)
    _warn_of_starts({origin(first), origin(second)})
    names = list(dict.fromkeys(fitted_names(first) + fitted_names(second)))
    return float((_flat(first, names) - _flat(second, names)).double().norm())


def function_distance(
    first: Representation, second: Representation, grid: Grid | None = None
) -> float:
    """Root mean square difference of the two functions over a grid, in units of intensity.

    The architectures may differ: it is the distance of what the weights say, not of the weights.

    Args:
        first: a representation.
        second: another one, with as many channels.
        grid: where; the first one's grid if None.

    Raises:
        ValueError: if they have not as many channels or dimensions.
    """
    if len(first.scale.mean) != len(second.scale.mean):
        raise ValueError(
            f"representations must have as many channels, got {len(first.scale.mean)} and "
            f"{len(second.scale.mean)}"
        )
    grid = grid or first.grid
    difference = first.sample(grid).as_tensor().cpu() - second.sample(grid).as_tensor().cpu()
    return float(difference.double().square().mean().sqrt())


def _warn_of_starts(origins: set[tuple[str, Any]]) -> None:
    if len(origins) > 1:
        warnings.warn(
            f"representations must share their start for their weights to be comparable, got "
            f"{len(origins)} of them; fit all with one seed or from one start",
            stacklevel=3,
        )


_Given = Representation | str | os.PathLike[str]


class WeightVectors:
    """A scikit-learn transformer: representations to a matrix of their weights.

    It goes first in a ``Pipeline``; scaling, PCA and classifiers are scikit-learn's own. It learns
    nothing from the data but the architecture, that of the first representation it is fitted to.

    Args:
        start: what all of them started from, or its .oinr file; rows are then differences from it.

    Example:
        >>> from sklearn.neighbors import KNeighborsClassifier
        >>> from sklearn.pipeline import make_pipeline
        >>> from oinr_monai import FitConfig, fit
        >>> waves = [torch.sin(torch.linspace(0, k, 16)).expand(1, 16, 16) for k in (3, 4, 8, 9)]
        >>> fits = [fit(wave, FitConfig(preset="fast", steps=20)) for wave in waves]
        >>> pipeline = make_pipeline(WeightVectors(), KNeighborsClassifier(1))
        >>> pipeline.fit(fits, [0, 0, 1, 1]).predict(fits).tolist()
        [0, 0, 1, 1]
    """

    def __init__(self, start: Representation | str | os.PathLike[str] | None = None) -> None:
        self.start = start

    def fit(self, representations: Iterable[_Given], labels: object = None) -> Self:
        """Note the architecture of the first of the representations."""
        self.architecture_ = _opened(next(iter(representations)))
        return self

    def transform(self, representations: Iterable[_Given]) -> NDArray[np.float32]:
        """Matrix (n, P), a row for each representation or .oinr path.

        Raises:
            ValueError: if one is not of the architecture that :meth:`fit` saw.
        """
        start = None if self.start is None else _opened(self.start)
        rows: list[NDArray[np.float32]] = []
        origins: set[tuple[str, Any]] = set()
        for i, given in enumerate(representations):
            representation = _opened(given)
            try:
                check_comparable(representation, self.architecture_)
            except ValueError as error:
                name = given if isinstance(given, str | os.PathLike) else f"representations[{i}]"
                raise ValueError(f"{name}: {error}") from error
            origins.add(origin(representation))
            rows.append(weight_vector(representation, start).float().numpy())
        _warn_of_starts(origins)
        return np.stack(rows)

    def fit_transform(
        self, representations: Sequence[_Given], labels: object = None
    ) -> NDArray[np.float32]:
        """Do both."""
        return self.fit(representations).transform(representations)

    def __sklearn_tags__(self) -> Tags:
        """What scikit-learn asks of the steps of a pipeline."""
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(),
            input_tags=InputTags(two_d_array=False),
        )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Arguments, as scikit-learn asks for them."""
        return {"start": self.start}

    def set_params(self, **parameters: Any) -> Self:
        """Change the arguments, as scikit-learn does."""
        for name, value in parameters.items():
            if name != "start":
                raise ValueError(f"parameter must be 'start', got {name!r}")
            self.start = value
        return self


def _opened(given: _Given) -> Representation:
    return given if isinstance(given, Representation) else Representation.load(Path(given))

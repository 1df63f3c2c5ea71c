"""Analysis reads a representation: derivatives, invariants, surfaces, regions, weights."""

from .classification import CrossValidated, classifier, cross_validate
from .derivatives import MAPS, derivative_maps
from .isosurface import isosurface
from .mesh import Surface
from .occupancy import OccupancyConfig, fit_occupancy, label_map, label_surface
from .regions import region_features
from .weight_vectors import (
    WeightVectors,
    function_distance,
    weight_distance,
    weight_names,
    weight_vector,
)

__all__ = [
    "MAPS",
    "CrossValidated",
    "OccupancyConfig",
    "Surface",
    "WeightVectors",
    "classifier",
    "cross_validate",
    "derivative_maps",
    "fit_occupancy",
    "function_distance",
    "isosurface",
    "label_map",
    "label_surface",
    "region_features",
    "weight_distance",
    "weight_names",
    "weight_vector",
]

"""Analysis reads a representation: derivatives, invariants, surfaces, regions, weights."""

from .classification import (
    CrossValidated,
    cross_validate,
    logistic_regression,
    nearest_neighbours,
    perceptron,
)
from .derivatives import MAPS, derivative_maps
from .isosurface import isosurface
from .jet_features import channel_names, jet_features
from .mesh import Surface
from .occupancy import OccupancyConfig, fit_occupancy, label_map, label_surface
from .regions import region_features
from .shape import shape_features
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
    "channel_names",
    "cross_validate",
    "derivative_maps",
    "fit_occupancy",
    "function_distance",
    "isosurface",
    "jet_features",
    "label_map",
    "label_surface",
    "logistic_regression",
    "nearest_neighbours",
    "perceptron",
    "region_features",
    "shape_features",
    "weight_distance",
    "weight_names",
    "weight_vector",
]

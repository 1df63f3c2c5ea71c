from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from oinr_monai import FitConfig, Representation, fit
from oinr_monai.analysis.classification import (
    cross_validate,
    logistic_regression,
    nearest_neighbours,
    perceptron,
)
from oinr_monai.analysis.weight_vectors import (
    WeightVectors,
    function_distance,
    weight_distance,
    weight_names,
    weight_vector,
)
from oinr_monai.fitting.modulation import modulate
from oinr_monai.fitting.shared_operator import OperatorConfig, learn_operator

QUICK = FitConfig(preset="fast", steps=5)


def wave(k: float) -> torch.Tensor:
    return torch.sin(torch.linspace(0, k, 12)).expand(1, 12, 12)


@pytest.fixture(scope="module")
def fits() -> list[Representation]:
    return [fit(wave(k), QUICK) for k in (3, 4, 5)]


@pytest.fixture(scope="module")
def operator() -> Representation:
    waves = [wave(float(k)) for k in range(3, 11)]
    return learn_operator(waves, OperatorConfig(steps=5, batch=4, channels=(4, 4)))


def test_a_vector_holds_every_parameter_in_the_order_of_its_names(
    fits: list[Representation],
) -> None:
    state, names = fits[0].field.state_dict(), weight_names(fits[0])
    vector = weight_vector(fits[0])
    assert len(vector) == len(names) == fits[0].parameters
    for i in (0, 7, len(names) - 1):
        name, place = names[i][:-1].split("[")
        assert state[name][tuple(map(int, place.split(",")))] == vector[i]


def test_a_modulated_vector_is_the_difference_of_coefficients_alone(
    operator: Representation,
) -> None:
    found = modulate([wave(4.5)], operator)[0]
    expected = found.field.encoding.coefficients - operator.field.encoding.coefficients
    assert torch.equal(weight_vector(found, operator), expected.flatten())


def test_distances(fits: list[Representation]) -> None:
    a, b, c = fits
    assert weight_distance(a, a) == function_distance(a, a) == 0
    assert weight_distance(a, b) == pytest.approx(weight_distance(b, a))
    assert weight_distance(a, c) <= weight_distance(a, b) + weight_distance(b, c)
    difference = (a.sample() - b.sample()).as_tensor().double()
    rms = float(difference.square().mean().sqrt())
    assert function_distance(a, b) == pytest.approx(rms)


def test_units_that_change_places_keep_the_function_and_not_the_vector(
    fits: list[Representation],
) -> None:
    same, order = fits[0].to("cpu"), torch.arange(16).flip(0)
    layers = same.field.network.layers
    layers[0].weight.data, layers[0].bias.data = layers[0].weight[order], layers[0].bias[order]
    layers[1].weight.data = layers[1].weight[:, order]
    assert function_distance(fits[0], same) < 1e-5
    assert weight_distance(fits[0], same) > 0.1


def test_a_pipeline_of_scikit_learn(fits: list[Representation], tmp_path: Path) -> None:
    paths = []
    for i, each in enumerate(fits):
        each.save(tmp_path / f"{i}.oinr")
        paths.append(str(tmp_path / f"{i}.oinr"))
    vectors = WeightVectors(fits[0])
    assert np.array_equal(vectors.fit_transform(fits), clone(vectors).fit_transform(paths))
    pipeline = make_pipeline(WeightVectors(), StandardScaler(), LogisticRegression())
    scores = cross_val_score(pipeline, fits * 4, [0, 1, 2] * 4, cv=2)
    assert scores.tolist() == [1.0, 1.0]


def test_representations_that_cannot_be_compared(fits: list[Representation]) -> None:
    other = fit(wave(3), FitConfig(preset="fast", steps=5, channels=(8, 8)))
    with pytest.raises(ValueError, match=r"must be of one architecture .* another operator"):
        weight_distance(fits[0], other)
    with pytest.raises(ValueError, match=r"representations\[1\]: .* another operator"):
        WeightVectors().fit_transform([fits[0], other])
    larger = fit(torch.rand(1, 20, 20), QUICK)
    with pytest.raises(ValueError, match="another field"):
        weight_vector(fits[0], larger)


def test_other_starts_are_warned_of(fits: list[Representation], operator: Representation) -> None:
    seeded = fit(wave(3), FitConfig(preset="fast", steps=5, seed=1))
    with pytest.warns(UserWarning, match="must share their start"):
        WeightVectors().fit_transform([fits[0], seeded])
    with pytest.warns(UserWarning, match="must share their start"):
        weight_distance(fits[0], seeded)
    found = modulate([wave(4)], operator)[0]
    other = modulate([wave(5)], operator)[0]
    with pytest.warns(UserWarning, match="must be what the representation started from"):
        weight_vector(found, other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        WeightVectors(operator).fit_transform([found, other])


@pytest.mark.parametrize("make", [nearest_neighbours, logistic_regression, perceptron])
def test_cross_validation_tells_what_can_be_told_and_no_more(make: Callable[[], Pipeline]) -> None:
    rng = np.random.default_rng(0)
    labels = ["a"] * 60 + ["b"] * 40
    noise = rng.normal(size=(100, 20))
    signal = noise + 6 * np.array([label == "a" for label in labels])[:, None]
    told, guessed = (cross_validate(v, labels, make()) for v in (signal, noise))
    assert told.accuracy > 0.9
    assert guessed.accuracy < 0.75
    assert told.majority == 0.6
    assert told.classes == {"a": 60, "b": 40}
    assert np.mean(told.folds) == pytest.approx(told.accuracy)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="labels must be of 2 classes"):
        cross_validate(np.zeros((4, 2)), ["a"] * 4, nearest_neighbours())
    with pytest.raises(ValueError, match="as many rows as there are folds"):
        cross_validate(np.zeros((4, 2)), ["a", "a", "a", "b"], nearest_neighbours(), folds=2)
    with pytest.raises(ValueError, match="parameter must be 'start'"):
        WeightVectors().set_params(stop=1)

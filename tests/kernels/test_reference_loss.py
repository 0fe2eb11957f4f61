"""The oracle's losses: finite differences, numbers made by hand, what smoothing and weights are worth."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn_kernels import reference_loss as ref

CONSTANTS = {"huber": {"delta": 0.4}, "binary_cross_entropy": {"smoothing": 0.3}, "cross_entropy": {"smoothing": 0.3}}
NAMES = ["mse", "half_mse", "mae", "huber", "poisson", "binary_cross_entropy", "cross_entropy"]
LOSSES = [*((name, {}) for name in NAMES), *CONSTANTS.items()]
STEP = 1e-5


@pytest.mark.parametrize("weights", [[1.0] * 4, [0.5, 0.0, 3.0, 1.0]], ids=["alike", "weighted"])
@pytest.mark.parametrize(("name", "options"), LOSSES, ids=str)
def test_derivative_by_finite_differences(name, options, weights, rng):
    output, y = rng.normal(size=(4, 3)), rng.random((4, 3))
    loss = (name, {**options, "weights": weights})
    for kink in (0.0, 0.4, 1.0):
        assert abs(abs(output - y) - kink).min() > 2 * STEP
    slopes = np.empty_like(output)
    for i in np.ndindex(output.shape):
        moved = np.zeros_like(output)
        moved[i] = STEP
        slopes[i] = (ref.loss(loss, output + moved, y) - ref.loss(loss, output - moved, y)) / (2 * STEP)
    bound = 100 * STEP**2 / 6 + 8 * np.finfo(float).eps * ref.loss(loss, output, y) / STEP
    assert abs(ref.loss_derivative(loss, output, y) - slopes).max() < bound


def test_poisson_is_lowest_at_the_logarithm_of_the_mean():
    y, at_mean = np.array([[0.0], [1.0], [5.0], [2.0]]), np.full((4, 1), np.log(2))
    assert abs(ref.loss_derivative("poisson", at_mean, y).sum()) < 1e-15
    assert ref.loss("poisson", at_mean, y) == pytest.approx(2 - 2 * np.log(2))


def test_smoothing_mixes_the_labels_with_equal_shares(rng):
    z, classes = rng.normal(size=(3, 4)), np.eye(4)[:3]
    smoothed = ref.loss(("cross_entropy", {"smoothing": 0.2}), z, classes)
    assert smoothed == pytest.approx(ref.loss("cross_entropy", z, np.where(classes == 1, 0.85, 0.05)), rel=1e-14)
    smoothed = ref.loss(("binary_cross_entropy", {"smoothing": 0.2}), z, classes)
    assert smoothed == pytest.approx(ref.loss("binary_cross_entropy", z, np.where(classes == 1, 0.9, 0.1)), rel=1e-14)


@pytest.mark.parametrize(("name", "options"), LOSSES, ids=str)
def test_whole_weights_repeat_samples(name, options, rng):
    output, y, weights = rng.normal(size=(4, 3)), rng.random((4, 3)), np.array([2, 0, 1, 3])
    again = np.repeat(np.arange(4), weights)
    expected = ref.loss((name, options), output[again], y[again]) * len(again) / 4
    assert ref.loss((name, {**options, "weights": weights}), output, y) == pytest.approx(expected, rel=1e-14)

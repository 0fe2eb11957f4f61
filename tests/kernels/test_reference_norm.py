"""The oracle of normalization against finite differences and the definition."""

import numpy as np
import pytest
from helpers import random_weights

from fastnn_kernels import reference_norm as ref

SIZES, ACTIVATIONS = (4, 6, 5, 3), ["tanh", "softplus", "softmax"]


def drawn(rng, norms, rows):
    layers = [
        (W, b) if norm is None else (W, b, rng.uniform(0.5, 1.5, len(b)), rng.uniform(-0.5, 0.5, len(b)))
        for (W, b), norm in zip(random_weights(rng, SIZES), norms, strict=True)
    ]
    return layers, rng.normal(size=(rows, SIZES[0])), np.eye(3)[rng.integers(0, 3, rows)]


@pytest.mark.parametrize(
    "kinds", [("batch", "batch"), ("layer", "layer"), ("batch", "layer"), (None, "batch")], ids=str
)
def test_gradient_by_finite_differences(kinds, rng):
    norms = [*(kind and (kind, 1e-2) for kind in kinds), None]
    layers, X, y = drawn(rng, norms, 7)
    found = ref.gradient(layers, ACTIVATIONS, norms, "cross_entropy", X, y)
    h = 1e-5
    for layer, slopes in zip(layers, found, strict=True):
        for array, slope in zip(layer, slopes, strict=True):
            for i in np.ndindex(array.shape):
                old, ends = array[i], []
                for move in (h, -h):
                    array[i] = old + move
                    ends.append(ref.network_loss(layers, ACTIVATIONS, norms, "cross_entropy", X, y))
                array[i] = old
                assert abs((ends[0] - ends[1]) / (2 * h) - slope[i]) < 1e-8


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_normalized_numbers_have_mean_0_and_variance_1(kind, rng):
    xhat, _ = ref.normalize((kind, 0.0), rng.normal(3, 5, (9, 11)))
    axis = ref.AXES[kind]
    assert abs(xhat.mean(axis=axis)).max() < 1e-14
    assert abs(xhat.var(axis=axis) - 1).max() < 1e-14


def test_averages_move_towards_the_unbiased_variance():
    mean, variance = ref.average((np.zeros(1), np.ones(1)), np.array([[1.0], [3.0]]), 0.1)
    assert (mean[0], variance[0]) == pytest.approx((0.2, 1.1))

"""Penalties: of one weight, and their sums over all, against the oracle."""

import harness
import numpy as np
import pytest

from fastnn_kernels import layout, optimizer
from fastnn_kernels import reference as ref
from fastnn_kernels.cuda import flat, penalty
from fastnn_kernels.cuda.driver import kernel, place
from fastnn_kernels.cuda.work import COST, ZEROS
from fastnn_kernels.layout import BATCH_NORM
from fastnn_kernels.reference_optimizer import soft_threshold

DTYPES = [np.float32, np.float64]
WEIGHTS = np.array([-3.0, -0.5, -0.25, -0.0, 0.0, 0.25, 0.5, 3.0, np.nan])
L1, L2 = 0.25, 2.0


@kernel
def _gradient(w, l1, l2):
    i = place()
    if i < w.size:
        w[i] = penalty.gradient(w[i], l1, l2)


@kernel
def _soften(w, threshold):
    i = place()
    if i < w.size:
        w[i] = penalty.soften(w[i], threshold)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_of_one_weight(dtype):
    w = WEIGHTS.astype(dtype)
    _gradient[1, 16](w, dtype(L1), dtype(L2))
    expected = sum(ref.penalty_gradient(name, WEIGHTS, lam, 1) for name, lam in (("l1", L1), ("l2", L2)))
    assert np.array_equal(w, expected, equal_nan=True)
    assert w.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_soft_thresholds(dtype):
    w = WEIGHTS.astype(dtype)
    _soften[1, 16](w, dtype(L1))
    assert np.array_equal(w, soft_threshold(WEIGHTS, L1), equal_nan=True)


@pytest.fixture
def network(request):
    """A network whose second layer has two blocks of elements and more, with some weights that are 0."""
    sizes, rng = (3, 17, 16, 1), np.random.Generator(np.random.Philox(1))
    one = harness.make(sizes, [0, 0, 0], 1, request.param, norms=[BATCH_NORM, 0, 0])
    params = one.work.params.copy_to_host()
    for layer in range(1, 4):
        W, _ = harness.weight(one, layer, params)
        W[rng.uniform(size=W.shape) < 0.3] = 0
    one.work.params.copy_to_device(params)
    constants = one.work.constants.copy_to_host()
    constants[[optimizer.PENALTY_L1, optimizer.PENALTY_L2]] = L1, L2
    one.work.constants.copy_to_device(constants)
    return one, [harness.weight(one, layer, params.astype(np.float64)) for layer in range(1, 4)]


@pytest.mark.parametrize("most", [1, 2048])
@pytest.mark.parametrize("network", DTYPES, indirect=True)
def test_sums_over_all_weights(network, most, monkeypatch):
    monkeypatch.setattr(flat, "MOST_BLOCKS", most)
    one, weights = network
    penalty.cost(one)
    penalty.share_of_zeros(one)
    sums = one.work.sums.copy_to_host()
    expected = ref.penalty("l1", weights, L1, 1) + ref.penalty("l2", weights, L2, 1)
    assert sums[COST] == pytest.approx(expected, rel=1e-13)
    zeros = sum((W == 0).sum() for W, _ in weights)
    assert sums[ZEROS] == zeros / sum(W.size for W, _ in weights)
    assert 0 < sums[ZEROS] < 1


@pytest.mark.parametrize("network", [np.float64], indirect=True)
def test_the_grid_has_a_sum_for_every_block(network):
    one, _ = network
    blocks, layers = flat.grid(one.table)
    assert (blocks - 1) * flat.THREADS < 17 * 20 + 20 <= blocks * flat.THREADS + 40
    assert layers == 3
    assert flat.sums(one.table) == blocks * layers
    assert one.at(2, layout.WIDTH) == 16

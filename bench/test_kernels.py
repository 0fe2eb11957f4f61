"""Kernels one by one, on one thread: products beside NumPy's BLAS, and all that is not a product."""

from __future__ import annotations

import pytest
from threadpoolctl import threadpool_limits

from fastnn import activations, losses, optimizers
from fastnn.bench import kernels
from fastnn.bench.kernels import DTYPES, PRODUCTS, RANDOM, SHAPES, WITHOUT_DELTA
from fastnn.bench.layer_kernels import LAYER_KERNELS, layer_kernel

SHAPE_NAMES = ["x".join(map(str, shape)) for shape in SHAPES]
DELTAS = [name for name in activations.family.names if name not in WITHOUT_DELTA]

every_dtype = pytest.mark.parametrize("dtype", DTYPES)


@every_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=SHAPE_NAMES)
@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("maker", [kernels.product, kernels.blas], ids=["fastnn", "blas"])
def test_product(time_kernel, maker, name, shape, dtype):
    with threadpool_limits(1):
        time_kernel(maker(name, shape, dtype), f"{name} {'x'.join(map(str, shape))}, {dtype}")


@every_dtype
@pytest.mark.parametrize("name", activations.family.names)
def test_activation_feed(time_kernel, name, dtype):
    time_kernel(kernels.activation_feed(name, dtype), f"activations, feed, {dtype}")


@every_dtype
@pytest.mark.parametrize("name", DELTAS)
def test_activation_delta(time_kernel, name, dtype):
    time_kernel(kernels.activation_delta(name, dtype), f"activations, delta, {dtype}")


@every_dtype
@pytest.mark.parametrize("name", LAYER_KERNELS)
def test_layer(time_kernel, name, dtype):
    time_kernel(layer_kernel(name, dtype), f"normalization and noise, {dtype}")


@every_dtype
@pytest.mark.parametrize("name", losses.family.names)
def test_loss(time_kernel, name, dtype):
    time_kernel(kernels.loss_of_rows(name, dtype), f"losses, {dtype}")


@every_dtype
@pytest.mark.parametrize("name", optimizers.family.names)
def test_optimizer(time_kernel, name, dtype):
    time_kernel(kernels.update(name, dtype), f"optimizers, {dtype}")


@pytest.mark.parametrize("name", RANDOM)
def test_random(time_kernel, name):
    time_kernel(kernels.random_numbers(name), "random numbers")

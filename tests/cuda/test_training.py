"""Whole runs on the device: what the processor does, to rounding."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import fastnn as fn
from fastnn_kernels.cuda import tile

pytestmark = pytest.mark.usefixtures("small_blocks")

SAMPLES, N_IN, CLASSES = 21, 5, 3
SIZES = [N_IN, 6, 4, CLASSES]
BATCH = 8  # the last one of an epoch is shorter


@dataclass
class Case:
    """What to train, and how; numbers: whether the targets are numbers, not classes."""

    fit: dict[str, Any] = field(default_factory=dict)
    net: dict[str, Any] = field(default_factory=dict)
    numbers: bool = False
    epochs: int = 2


OPTIMIZERS = {
    "sgd": fn.SGD(0.1),
    "momentum": fn.Momentum(0.1),
    "nesterov": fn.Nesterov(0.1),
    "adagrad": fn.Adagrad(0.05),
    "rmsprop": fn.RMSprop(0.01),
    "adam": fn.Adam(0.02),
    "adamw": fn.AdamW(0.02, weight_decay=0.1),
    "amsgrad": fn.AMSGrad(0.02),
    "nadam": fn.NAdam(0.02),
}
CASES = {name: Case({"optimizer": optimizer}) for name, optimizer in OPTIMIZERS.items()}
CASES |= {
    "l2": Case({"penalty": fn.L2(0.3)}),
    "l1": Case({"penalty": fn.L1(0.3)}),
    "proximal l1": Case({"penalty": fn.L1(2.0, proximal=True), "optimizer": fn.SGD(0.3)}),
    "clip by value": Case({"clip": fn.ClipValue(0.02)}),
    "clip by norm": Case({"clip": fn.ClipNorm(0.1), "penalty": fn.L2(0.1)}),
    "accumulated": Case({"accumulate": 2, "penalty": fn.L2(0.1)}),
    "accumulated and clipped": Case({"accumulate": 2, "clip": fn.ClipNorm(0.1)}),
    "full": Case({"batch_size": "full"}),
    "single samples": Case({"batch_size": 1}, epochs=1),
    "stochastic": Case({"batch_size": 1, "optimizer": fn.SGD(0.05)}, epochs=1),
    "not shuffled": Case({"shuffle": False}),
    "average": Case({"average": fn.EMA(0.8)}),
    "average without state": Case({"average": fn.EMA(0.8), "optimizer": fn.SGD(0.1)}),
    "cosine": Case({"schedule": fn.Cosine(2, warm_up=0.5)}),
    "one cycle": Case({"schedule": fn.OneCycle()}),
    "plateau": Case({"schedule": fn.ReduceOnPlateau(patience=0), "optimizer": fn.SGD(5.0)}, epochs=3),
    "weights": Case({"sample_weight": np.linspace(0.5, 2, SAMPLES), "class_weight": "balanced"}),
    "standardized": Case({"normalize": "standard"}),
    "validation": Case({"validation": 0.3}),
    "regression": Case({"loss": "huber", "validation": 0.3}, {"output": "linear"}, numbers=True),
    "mae": Case({"loss": "mae"}, {"activation": "gelu", "output": "softplus"}, numbers=True),
    "dropout": Case(net={"dropout": 0.4}),
    "dropout per batch": Case(net={"dropout": fn.Dropout(0.4, per="batch")}),
    "dropout per epoch": Case({"average": fn.EMA(0.8)}, {"dropout": fn.Dropout(0.4, per="epoch")}),
    "batch norm": Case({"validation": 0.3, "batch_size": 6}, {"norm": "batch"}),
    "batch norm accumulated": Case({"batch_size": 7, "accumulate": 2}, {"norm": "batch"}),
    "layer norm": Case({"validation": 0.3}, {"norm": "layer"}),
    "noisy relu": Case(net={"activation": "noisy_relu"}),
    "augmented": Case({"augment": fn.augment.Noise(0.2), "normalize": "minmax"}),
}
NOISES = {
    "drop connect": fn.DropConnect(0.3),
    "drop connect per sample": fn.DropConnect(0.3, per="sample"),
    "shakeout": fn.Shakeout(0.3, 0.1),
    "whiteout": fn.Whiteout(0.2),
}


def data(numbers=False):
    rng = np.random.default_rng(7)
    X = rng.normal(size=(SAMPLES, N_IN))
    return X, rng.normal(size=(SAMPLES, CLASSES)) if numbers else np.arange(SAMPLES) % CLASSES


def network(dtype="float64", **options):
    return fn.MLP(SIZES, **{"activation": "tanh", "output": "softmax", "dtype": dtype, "seed": 3, **options})


def train(net, device, numbers=False, epochs=2, **options):
    """Fit, and return the history."""
    X, y = data(numbers)
    return net.fit(X, y, **{"epochs": epochs, "batch_size": BATCH, "progress": False, "device": device, **options})


def assert_same(one, other, histories, dtype="float64"):
    """Weights, state, running averages and histories agree to what rounding makes of them in a few steps."""
    close = 1e-12 if dtype == "float64" else 2e-5
    for a, b in (
        (one.params, other.params),
        (one.running, other.running),
        (one.fitted.optimizer.values, other.fitted.optimizer.values),
    ):
        np.testing.assert_allclose(a, b, rtol=close, atol=close)
    assert one.fitted.optimizer.steps == other.fitted.optimizer.steps
    assert one.fitted.optimizer.epochs == other.fitted.optimizer.epochs
    first, second = histories
    for name, values in vars(first).items():
        if name not in ("seconds", "samples_per_second"):
            np.testing.assert_allclose(getattr(second, name), values, rtol=close, atol=close, err_msg=name)


def assert_like_the_processor(case, dtype="float64", layers=None, device="cuda"):
    nets = [fn.MLP(N_IN, layers, dtype=dtype, seed=3) if layers else network(dtype, **case.net) for _ in range(2)]
    start = nets[0].params.copy()
    histories = [
        train(net, where, case.numbers, case.epochs, **case.fit)
        for net, where in zip(nets, ("cpu", device), strict=True)
    ]
    assert_same(*nets, histories, dtype)
    assert not np.allclose(nets[1].params, start, rtol=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_a_run_is_the_processor_s(name):
    assert_like_the_processor(CASES[name])


@pytest.mark.parametrize("name", NOISES)
def test_noise_on_weights_is_the_processor_s(name):
    layers = [fn.Dense(6, "tanh", noise=NOISES[name]), fn.Dense(CLASSES, "softmax")]
    assert_like_the_processor(Case(), layers=layers)


@pytest.mark.parametrize("name", ["adam", "clip by norm", "batch norm"])
def test_a_run_in_float32(name):
    assert_like_the_processor(CASES[name], "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_have_tiles_for_their_dtype(dtype, monkeypatch):
    sizes, choose = set(), tile.choose
    monkeypatch.setattr(tile, "choose", lambda *args: (sizes.add(args[-1]), choose(*args))[1])
    train(network(dtype), "cuda", epochs=1)
    assert sizes == {np.dtype(dtype).itemsize}

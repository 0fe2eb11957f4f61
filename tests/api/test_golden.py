"""A golden run: losses and gradients of ten steps, made once by the oracle, that oracle and kernels must repeat.

`python tests/api/test_golden.py` makes tests/golden.json anew; only a change of the formulas is a reason to do so.
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import fastnn as fn
from fastnn_kernels import reference as ref

GOLDEN = Path(__file__).parent.parent / "golden.json"
SIZES, STEPS, ROWS = (4, 9, 7, 6, 3), 10, 23
ACTIVATIONS = ["tanh", ("elu", 0.5), "softplus", "softmax"]
LAYERS = [fn.Dense(9, "tanh"), fn.Dense(7, fn.ELU(0.5)), fn.Dense(6, "softplus"), fn.Dense(3, "softmax")]
CONSTANTS = {"lr": 0.05, "beta1": 0.8, "beta2": 0.9, "eps": 1e-6}


def waves(shape, frequency):
    """Numbers between -1 and 1 that depend on no generator."""
    return np.sin(frequency * (1.0 + np.arange(np.prod(shape)))).reshape(shape)


WEIGHTS = [(0.6 * waves((a, b), 1.7 + a), 0.1 * waves((b,), 2.9 + b)) for a, b in pairwise(SIZES)]
X = 2.0 * waves((ROWS, SIZES[0]), 0.37)
Y = np.eye(3)[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)]


def norms(gradients):
    return [float(np.linalg.norm(array)) for pair in gradients for array in pair]


def by_oracle():
    run = {"losses": [], "norms": []}
    for step in range(STEPS):
        weights, _ = ref.train(WEIGHTS, ACTIVATIONS, "cross_entropy", X, Y, [range(ROWS)] * step, "adam", CONSTANTS)
        run["losses"].append(ref.network_loss(weights, ACTIVATIONS, "cross_entropy", X, Y))
        run["norms"].append(norms(ref.gradient(weights, ACTIVATIONS, "cross_entropy", X, Y)))
    return run


def by_kernels(threads):
    net = fn.MLP(SIZES[0], LAYERS, dtype="float64")
    net.set_weights(WEIGHTS)
    run = {"losses": [], "norms": []}
    for _ in range(STEPS):
        run["norms"].append(norms(net.gradient(X, Y)))
        options = {"batch_size": "full", "epochs": 1, "shuffle": False, "threads": threads, "progress": False}
        run["losses"] += net.fit(X, Y, loss="cross_entropy", optimizer=fn.Adam(**CONSTANTS), **options).loss
    return run


@pytest.mark.parametrize("run", [by_oracle, lambda: by_kernels(1), lambda: by_kernels(2)], ids=["oracle", "1", "2"])
def test_golden_run(run):
    golden, again = json.loads(GOLDEN.read_text()), run()
    tolerance = 100 * STEPS * ROWS * float(np.finfo(float).eps)  # roundings of sums over ROWS, amplified by the steps
    assert len(golden["losses"]) == STEPS
    assert golden["losses"][-1] < 0.5 * golden["losses"][0]
    assert again["losses"] == pytest.approx(golden["losses"], rel=tolerance)
    for given, expected in zip(again["norms"], golden["norms"], strict=True):
        assert given == pytest.approx(expected, rel=tolerance)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(by_oracle(), indent=1) + "\n")

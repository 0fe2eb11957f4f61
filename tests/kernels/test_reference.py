"""The oracle itself, against the course's numbers, finite differences, published vectors and numbers made by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fastnn_kernels import reference as ref
from fastnn_kernels import reference_activation as curves
from fastnn_kernels import reference_loss as loss_ref
from fastnn_kernels import reference_optimizer

ELEMENTWISE = ["linear", "threshold", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus"]
ELEMENTWISE += ["hard_sigmoid", "hard_tanh", "noisy_relu", "gelu", "silu", "hard_swish"]
ACTIVATIONS = [*ELEMENTWISE, "softmax"]
OUTPUT_AND_LOSS = [
    *((output, loss) for output in ACTIVATIONS for loss in ("mse", "half_mse", "mae")),
    ("sigmoid", "binary_cross_entropy"),
    ("softmax", "cross_entropy"),
]


# The course's numbers


def course_network():
    """2-3-1, all linear, all weights and biases 1, with x = (1, 1) and y = 0."""
    weights = [(np.ones((2, 3)), np.ones(3)), (np.ones((3, 1)), np.ones(1))]
    return weights, ["linear", "linear"], np.ones((1, 2)), np.zeros((1, 1))


def test_course_feedforward():
    weights, activations, X, _ = course_network()
    (z1, a1), (z2, a2) = ref.feedforward(weights, activations, X)
    assert z1.tolist() == a1.tolist() == [[3, 3, 3]]
    assert z2.tolist() == a2.tolist() == [[10]]


def test_course_gradient():
    weights, activations, X, y = course_network()
    (dW1, db1), (dW2, db2) = ref.gradient(weights, activations, "half_mse", X, y)
    assert dW2.tolist() == [[30], [30], [30]]
    assert db2.tolist() == [10]
    assert dW1.tolist() == [[10, 10, 10], [10, 10, 10]]
    assert db1.tolist() == [10, 10, 10]


def test_course_mean_squared_error():
    y = np.array([[5.1], [1.6], [2.3], [3.7]])
    yhat = np.array([[4.8], [0.9], [1.1], [5.1]])
    assert loss_ref.loss("mse", yhat, y) == pytest.approx(0.995, abs=1e-12)
    assert loss_ref.loss("half_mse", yhat, y) == pytest.approx(0.995 / 2, abs=1e-12)
    assert loss_ref.loss("mae", yhat, y) == pytest.approx(0.9, abs=1e-12)


def test_course_binary_cross_entropy():
    y = np.array([[1.0], [0.0], [0.0], [1.0]])
    yhat = np.array([[0.9], [0.5], [0.4], [0.2]])
    logits = np.log(yhat / (1 - yhat))
    assert loss_ref.loss("binary_cross_entropy", logits, y) / math.log(10) == pytest.approx(0.317, abs=5e-4)


# Activations


@pytest.mark.parametrize(
    ("name", "below", "above"),
    [
        ("linear", -1.5, 2.0),
        ("threshold", 0.0, 1.0),
        ("sigmoid", 1 / (1 + math.exp(1.5)), 1 / (1 + math.exp(-2))),
        ("tanh", math.tanh(-1.5), math.tanh(2)),
        ("relu", 0.0, 2.0),
        ("leaky_relu", -0.015, 2.0),
        ("elu", math.exp(-1.5) - 1, 2.0),
        ("softplus", math.log(1 + math.exp(-1.5)), math.log(1 + math.exp(2))),
        ("hard_sigmoid", 0.25, 5 / 6),
        ("hard_tanh", -1.0, 1.0),
        ("noisy_relu", 0.0, 2.0),
        ("gelu", -0.75 * (1 - math.erf(1.5 / math.sqrt(2))), 1 + math.erf(math.sqrt(2))),
        ("silu", -1.5 / (1 + math.exp(1.5)), 2 / (1 + math.exp(-2))),
        ("hard_swish", -0.375, 5 / 3),
    ],
)
def test_activation_at_two_points(name, below, above):
    assert curves.activate(name, [-1.5, 2.0]) == pytest.approx([below, above], rel=1e-15)


def test_softmax():
    exponentials = [math.exp(z) for z in (-1.5, 0.25, 2)]
    expected = [e / sum(exponentials) for e in exponentials]
    assert curves.activate("softmax", [[-1.5, 0.25, 2]])[0] == pytest.approx(expected, rel=1e-15)
    assert curves.activate("softmax", [[-1001.5, -999.75, -998]])[0] == pytest.approx(expected, rel=1e-12)


def test_beta_is_the_callers():
    assert curves.activate("leaky_relu", -2.0, 0.25) == -0.5
    assert curves.derivative("leaky_relu", -2.0, 0.25) == 0.25
    assert curves.activate("elu", -2.0, 3.0) == pytest.approx(3 * (math.exp(-2) - 1), rel=1e-15)
    (_, a), *_ = ref.feedforward([(np.ones((1, 1)), np.zeros(1))], [("leaky_relu", 0.25)], [[-2.0]])
    assert a.tolist() == [[-0.5]]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_far_out_is_finite(name):
    z = np.array([[-1e300, -1e4, -800.0, 0.0, 800.0, 1e4]])
    assert np.isfinite(curves.activate(name, z)).all()
    if name != "softmax":
        assert np.isfinite(curves.derivative(name, z)).all()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_derivative_by_finite_differences(name):
    z = np.linspace(-6, 6, 48)  # without 0, where some have a kink
    h = 1e-5
    numeric = (curves.activate(name, z + h) - curves.activate(name, z - h)) / (2 * h)
    assert np.allclose(curves.derivative(name, z), numeric, rtol=0, atol=difference_error(h, scale=6))


@pytest.mark.parametrize("name", ["threshold", "relu", "leaky_relu"])
def test_derivative_at_the_kink_is_that_below(name):
    assert curves.derivative(name, 0.0) == curves.derivative(name, -1.0)


def test_noisy_relu_adds_noise_of_the_variance_sigmoid():
    z, normal = np.array([-1.0, 0.5, 4.0]), np.array([5.0, -0.25, -2.0])
    noise = [math.sqrt(1 / (1 + math.exp(-x))) * n for x, n in zip(z, normal, strict=True)]
    expected = [max(0.0, x + n) for x, n in zip(z, noise, strict=True)]
    assert curves.noisy_relu(z, normal) == pytest.approx(expected, rel=1e-15)


# Losses and backpropagation


def difference_error(h, scale):
    """A bound on a central difference's error: third derivatives up to 10, and a few roundings of values of `scale`."""
    return 10 * h**2 / 6 + 8 * np.finfo(float).eps * scale / h


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)


def random_network(rng, sizes):
    return [
        (rng.normal(size=(n_in, n_out)) / math.sqrt(n_in), rng.normal(size=n_out) / 2)
        for n_in, n_out in itertools.pairwise(sizes)
    ]


def numeric_gradient(f, array, h):
    """df/darray by central differences; f takes nothing and sees the array, which is restored."""
    result = np.empty_like(array)
    for i in np.ndindex(array.shape):
        kept = array[i]
        array[i] = kept + h
        above = f()
        array[i] = kept - h
        result[i] = (above - f()) / (2 * h)
        array[i] = kept
    return result


@pytest.mark.parametrize("hidden", ACTIVATIONS)
@pytest.mark.parametrize(("output", "loss"), OUTPUT_AND_LOSS)
def test_gradient_by_finite_differences(rng, hidden, output, loss):
    weights = random_network(rng, [3, 5, 4, 3])
    activations = [hidden, hidden, output]
    X = rng.normal(size=(6, 3))
    y = rng.random((6, 3))  # no target is a distribution: cross-entropy must hold for any
    h = 1e-5
    outputs = [z for z, _ in ref.feedforward(weights, activations, X)]
    smallest = min(np.abs(z - kink).min() for z in outputs for kink in curves.KINKS)
    assert smallest > 20 * h  # no unit sits so close to its kink that a difference crosses it

    def cost():
        return ref.network_loss(weights, activations, loss, X, y)

    for (W, b), (dW, db) in zip(weights, ref.gradient(weights, activations, loss, X, y), strict=True):
        tolerance = difference_error(h, scale=max(1, cost()))
        assert dW.shape == W.shape
        assert db.shape == b.shape
        assert np.allclose(dW, numeric_gradient(cost, W, h), rtol=0, atol=tolerance)
        assert np.allclose(db, numeric_gradient(cost, b, h), rtol=0, atol=tolerance)


def test_cross_entropies_are_the_logarithms_of_their_outputs(rng):
    z, y = rng.normal(size=(5, 3)), rng.random((5, 3))
    p = curves.activate("sigmoid", z)
    expected = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert loss_ref.loss("binary_cross_entropy", z, y) == pytest.approx(expected, rel=1e-14)
    expected = -np.mean(np.sum(y * np.log(curves.activate("softmax", z)), axis=1))
    assert loss_ref.loss("cross_entropy", z, y) == pytest.approx(expected, rel=1e-14)


def test_cross_entropies_far_out_are_linear():
    assert loss_ref.loss("binary_cross_entropy", [[1e4, -1e4]], [[0.0, 1.0]]) == 1e4
    assert loss_ref.loss("cross_entropy", [[1e4, -1e4]], [[0.0, 1.0]]) == 2e4


def test_loss_averages():
    y, yhat = np.zeros((2, 4)), np.full((2, 4), 3.0)
    assert [loss_ref.loss(name, yhat, y) for name in ("mse", "half_mse", "mae")] == [9, 18, 3]
    assert loss_ref.loss("cross_entropy", np.zeros((2, 4)), np.eye(4)[:2]) == pytest.approx(math.log(4))


@pytest.mark.parametrize("hidden", ["tanh", "softmax"])
def test_softmax_with_cross_entropy_equals_its_jacobian(rng, hidden):
    """delta = yhat - y is what the full Jacobian gives for the derivative -y / yhat."""
    weights = random_network(rng, [3, 4, 3])
    X, y = rng.normal(size=(1, 3)), np.eye(3)[:1]
    z, a = ref.feedforward(weights, [hidden, "softmax"], X)[-1]
    delta = np.einsum("si,sij->sj", -y / a, curves.softmax_jacobian(z))
    db = ref.gradient(weights, [hidden, "softmax"], "cross_entropy", X, y)[-1][1]
    assert np.allclose(db, delta[0], rtol=1e-14, atol=1e-15)


# Penalties


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_penalty_gradient_by_finite_differences(rng, name):
    weights = random_network(rng, [3, 4, 2])
    W = weights[0][0]
    numeric = numeric_gradient(lambda: ref.penalty(name, weights, 0.7, samples=5), W, 1e-5)
    assert np.allclose(ref.penalty_gradient(name, W, 0.7, samples=5), numeric, rtol=0, atol=difference_error(1e-5, 1))


def test_penalty_values():
    weights = [(np.array([[1.0, -2.0]]), np.array([100.0, 100.0])), (np.array([[3.0], [0.0]]), np.array([100.0]))]
    assert ref.penalty("l2", weights, 0.5, samples=7) == pytest.approx(0.5 / 14 * 14)
    assert ref.penalty("l1", weights, 0.5, samples=6) == pytest.approx(0.5)
    assert ref.penalty_gradient("l1", weights[1][0], 0.5, samples=1).tolist() == [[0.5], [0.0]]


# Optimizers: three steps of w = 1 with gradients 1, 2, -1, worked out by hand


def three_steps(optimizer, **constants):
    step, slots = reference_optimizer.OPTIMIZERS[optimizer]
    w, state, path = np.array(1.0), (np.zeros(()),) * slots, []
    for t, g in enumerate([1.0, 2.0, -1.0], start=1):
        w, state = step(w, np.array(g), state, t, **constants)
        path.append(float(w))
    return path


def test_sgd():
    assert three_steps("sgd", lr=0.1) == pytest.approx([0.9, 0.7, 0.8], rel=1e-15)


def test_momentum():
    # v = 1, 2.5, 0.25
    assert three_steps("momentum", lr=0.1, beta=0.5) == pytest.approx([0.9, 0.65, 0.625], rel=1e-15)


def test_nesterov():
    # v = 1, 2.5, 0.25; g + beta v = 1.5, 3.25, -0.875
    assert three_steps("nesterov", lr=0.1, beta=0.5) == pytest.approx([0.85, 0.525, 0.6125], rel=1e-15)


@pytest.mark.parametrize(("eps", "eps_root"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.25)])
def test_adam(eps, eps_root):
    # beta1 = beta2 = 1/2. s = 1/2, 5/4, 1/8, over 1 - 2^-t: 1, 5/3, 1/7. r = 1/2, 9/4, 13/8: 1, 3, 13/7.
    expected, w = [], 1.0
    for s, r in [(1, 1), (5 / 3, 3), (1 / 7, 13 / 7)]:
        w -= 0.1 * s / (math.sqrt(r + eps_root) + eps)
        expected.append(w)
    path = three_steps("adam", lr=0.1, beta1=0.5, beta2=0.5, eps=eps, eps_root=eps_root)
    assert path == pytest.approx(expected, rel=1e-14)


def test_lookahead_is_the_order_of_the_course():
    """w += v; g there; v = beta v - lr g, on the loss w^2 / 2, whose gradient is w."""
    w, v, seen = 1.0, 0.0, []
    for _ in range(5):
        w += v
        seen.append(w)
        v = 0.5 * v - 0.1 * w
    step, _ = reference_optimizer.OPTIMIZERS["lookahead"]
    ours, state = np.array(1.0), (np.zeros(()),)
    for t, wanted in enumerate(seen, start=1):
        assert float(ours) == pytest.approx(wanted, rel=1e-15)
        ours, state = step(ours, ours, state, t, lr=0.1, beta=0.5)
    assert seen[:3] == pytest.approx([1.0, 0.9, 0.76])


@pytest.mark.parametrize(("eps", "eps_root"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.25)])
def test_adagrad_and_rmsprop(eps, eps_root):
    # squares: 1, 5, 6 added up; 1/2, 9/4, 13/8 averaged with rho = 1/2
    for name, constants, squares in (("adagrad", {}, (1, 5, 6)), ("rmsprop", {"rho": 0.5}, (0.5, 2.25, 1.625))):
        expected, w = [], 1.0
        for g, r in zip((1, 2, -1), squares, strict=True):
            w -= 0.1 * g / (math.sqrt(r + eps_root) + eps)
            expected.append(w)
        path = three_steps(name, lr=0.1, eps=eps, eps_root=eps_root, **constants)
        assert path == pytest.approx(expected, rel=1e-14)


def test_adamw_and_amsgrad():
    # as in test_adam; the largest r: 1/2, 9/4, 9/4, over 1 - 2^-t: 1, 3, 18/7
    decayed, kept = [], []
    w = v = 1.0
    for s, r, most in [(1, 1, 1), (5 / 3, 3, 3), (1 / 7, 13 / 7, 18 / 7)]:
        w = w * (1 - 0.1 * 0.2) - 0.1 * s / math.sqrt(r)
        v -= 0.1 * s / math.sqrt(most)
        decayed.append(w)
        kept.append(v)
    halves = {"lr": 0.1, "beta1": 0.5, "beta2": 0.5, "eps": 0.0}
    assert three_steps("adamw", weight_decay=0.2, **halves) == pytest.approx(decayed, rel=1e-14)
    assert three_steps("amsgrad", **halves) == pytest.approx(kept, rel=1e-14)


def test_adamw_spares_biases():
    step, _ = reference_optimizer.OPTIMIZERS["adamw"]
    state = (np.zeros(1), np.zeros(1))
    assert step(np.ones(1), np.zeros(1), state, 1, lr=0.1, weight_decay=0.5)[0].tolist() == [1.0]


def test_nadam():
    # momentum_decay = 0: mu = 1/4 throughout, M = 4^-t; s and r as in test_adam
    expected, w = [], 1.0
    for t, (g, s, r) in enumerate([(1, 0.5, 1), (2, 1.25, 3), (-1, 0.125, 13 / 7)], start=1):
        w -= 0.1 * (g * 0.75 / (1 - 0.25**t) + s * 0.25 / (1 - 0.25 ** (t + 1))) / math.sqrt(r)
        expected.append(w)
    path = three_steps("nadam", lr=0.1, beta1=0.5, beta2=0.5, eps=0.0, momentum_decay=0.0)
    assert path == pytest.approx(expected, rel=1e-14)
    # one step with a decay: 0.96^25 = 0.36040, 0.96^50 = 0.12989; mu = 0.40990, 0.46753
    mu, following = 0.5 * (1 - 0.5 * 0.96**25), 0.5 * (1 - 0.5 * 0.96**50)
    first = 1 - 0.1 * (1 + 0.5 * following / (1 - mu * following))
    path = three_steps("nadam", lr=0.1, beta1=0.5, beta2=0.5, eps=0.0, momentum_decay=25.0)
    assert path[0] == pytest.approx(first, rel=1e-14)


# Whole steps


def test_train_repeats_gradient_and_step(rng):
    weights, activations = random_network(rng, [3, 4, 2]), ["tanh", "softmax"]
    X, y = rng.normal(size=(5, 3)), np.eye(2)[[0, 1, 1, 0, 1]]
    batches = [[0, 3], [4, 1], [2]]
    before = [(W.copy(), b.copy()) for W, b in weights]
    trained, costs = ref.train(
        weights, activations, "cross_entropy", X, y, batches, "sgd", {"lr": 0.1}, penalty_name="l2", strength=2.0
    )
    expected = before
    for batch, cost in zip(batches, costs, strict=True):
        data = ref.network_loss(expected, activations, "cross_entropy", X[batch], y[batch])
        assert cost == pytest.approx(data + 2 / (2 * 5) * sum((W**2).sum() for W, _ in expected), rel=1e-14)
        gradients = ref.gradient(expected, activations, "cross_entropy", X[batch], y[batch])
        expected = [
            (W - 0.1 * (dW + 2 / 5 * W), b - 0.1 * db) for (W, b), (dW, db) in zip(expected, gradients, strict=True)
        ]
    for (W, b), (W_expected, b_expected) in zip(trained, expected, strict=True):
        assert np.allclose(W, W_expected, rtol=1e-13, atol=1e-15)
        assert np.allclose(b, b_expected, rtol=1e-13, atol=1e-15)
    assert all(np.array_equal(W, W0) for (W, _), (W0, _) in zip(weights, before, strict=True))


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam"])
def test_training_reduces_the_cost(rng, optimizer):
    weights = random_network(rng, [2, 8, 1])
    X = rng.normal(size=(16, 2))
    constants = {"lr": 0.05} | ({"beta": 0.9} if optimizer in ("momentum", "nesterov") else {})
    _, costs = ref.train(
        weights, ["tanh", "linear"], "mse", X, X[:, :1] * X[:, 1:], [range(16)] * 60, optimizer, constants
    )
    assert costs[-1] < 0.5 * costs[0]


# Random numbers and initial weights


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(counter, key, expected):
    """The vectors that Random123 publishes for philox4x32-10."""
    assert ref.philox4x32(counter, key) == expected
    assert ref.philox4x32(np.array(counter, np.uint32), np.array(key, np.uint32)) == expected


def test_initial_spreads():
    assert ref.glorot_uniform_bound(2, 4) == 1
    assert ref.glorot_uniform_bound(2, 4, gain=4) == 4
    assert ref.he_uniform_bound(6) == 1
    assert ref.he_normal_deviation(8) == 0.5


# Errors


@pytest.mark.parametrize(
    "call",
    [
        lambda: curves.activate("rellu", [0.0]),
        lambda: curves.derivative("softmax", [[0.0]]),
        lambda: loss_ref.loss("msa", [[0.0]], [[0.0]]),
        lambda: loss_ref.loss_derivative("msa", [[0.0]], [[0.0]]),
        lambda: loss_ref.loss("mse", [0.0, 1.0], [[0.0], [1.0]]),
        lambda: ref.penalty("l3", [], 1.0, 1),
        lambda: ref.penalty_gradient("l3", np.zeros((1, 1)), 1.0, 1),
        lambda: ref.gradient([(np.ones((1, 1)), np.ones(1))], ["tanh"], "cross_entropy", [[1.0]], [[1.0]]),
        lambda: ref.feedforward([(np.ones((1, 1)), np.ones(1))], [], [[1.0]]),
    ],
)
def test_errors(call):
    with pytest.raises(ValueError, match=r".+"):
        call()

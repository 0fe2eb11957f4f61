"""Augmentation against the oracle, in training and alone; what stays as it is; errors."""

import numpy as np
import pytest
from helpers import DTYPES, same

import fastnn as fn
from fastnn.augment import Image, Noise
from fastnn.errors import InputError
from fastnn_kernels import augment as kernels
from fastnn_kernels import reference_augment as oracle

IMAGES = {
    "rotate": Image(5, 7, rotate=30.0),
    "turn": Image(6, 6, rotate=180.0),
    "scale": Image(5, 7, scale=(0.5, 2.0)),
    "shear": Image(7, 5, shear=0.5),
    "shift": Image(5, 7, shift=2.5, fill=3.0),
    "out of sight": Image(3, 4, shift=100.0, fill=-1.0),
    "elastic": Image(9, 17, elastic=1.5, smooth=2.0),
    "coarse": Image(8, 33, elastic=2.0, smooth=50.0),
    "drop": Image(5, 7, drop=0.3, fill=2.0),
    "noise": Image(1, 130, noise=0.5),
    "all": Image(11, 9, 15.0, (0.9, 1.1), 0.1, 1.0, 0.7, 1.5, 0.05, 0.1, 0.25),
}


def images(rng, a, dtype, samples=4):
    return rng.uniform(0, 1, (samples, a.height * a.width)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMAGES)
def test_images_are_the_oracle_s(rng, name, dtype):
    a = IMAGES[name]
    X = images(rng, a, dtype)
    seed = 2**40 + 7
    result = a.apply(X, seed)
    assert result.dtype == dtype
    # A point is computed from numbers of the size of a.width * scale; the value changes by at most `range` a pixel.
    largest = (max(a.height, a.width) + a.shift) / a.scale[0]
    bound = 40 * np.finfo(dtype).eps * largest * 2 * max(1.0, abs(a.fill))
    np.testing.assert_allclose(result, oracle.augment(a, X.astype(np.float64), 0, seed), rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 8), (28, 28)])
def test_the_identity_leaves_the_bits(rng, shape, dtype):
    a = Image(*shape)
    X = rng.normal(size=(3, shape[0] * shape[1])).astype(dtype)
    plan, out = a.plan(X.shape[1], X.dtype, 1), np.empty_like(X)
    for warped in (0, 1):  # not at all, and by a map that moves nothing
        plan.constants[kernels.WARPED] = warped
        kernels.apply(plan.constants, plan.basis, plan.room, X, 0, 0, out)
        assert out.tobytes() == X.tobytes()


def test_noise_has_its_deviation_and_a_seed(rng):
    X = rng.normal(size=(500, 33))
    added = Noise(0.5).apply(X, 1) - X
    assert abs(added.std() - 0.5) < 0.02
    assert abs(added.mean()) < 0.02
    np.testing.assert_array_equal(Noise(0.5).apply(X, 1) - X, added)
    assert not np.array_equal(Noise(0.5).apply(X, 2) - X, added)


def fitted(X, y, epochs=(2,), dtype="float32", threads=1, **options):
    net = fn.MLP([X.shape[1], 12, 3], output="softmax", dtype=dtype, seed=5)
    for some in epochs:
        net.fit(X, y, epochs=some, threads=threads, progress=False, **options)
    return net.weights


@pytest.fixture
def labelled(rng):
    return rng.uniform(0, 1, (150, 35)), rng.integers(0, 3, 150)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_and_a_second_fit_change_nothing(labelled, dtype):
    a = Image(5, 7, rotate=20, shift=1, elastic=0.5, drop=0.1, noise=0.1)
    whole = fitted(*labelled, dtype=dtype, augment=a, normalize="standard")
    assert same(whole, fitted(*labelled, dtype=dtype, threads=3, augment=a, normalize="standard"))
    assert same(whole, fitted(*labelled, (1, 1), dtype, augment=a, normalize="standard"))
    assert not same(whole, fitted(*labelled, dtype=dtype, normalize="standard"))


def test_what_changes_nothing_leaves_training_as_it_is(labelled):
    plain = fitted(*labelled, batch_size=17)
    assert same(plain, fitted(*labelled, batch_size=17, augment=Image(5, 7)))
    assert same(plain, fitted(*labelled, batch_size=17, augment=Noise(0.0)))


@pytest.mark.parametrize("batch", [1, 30, 1100])
def test_a_step_is_a_step_on_the_augmented_samples(rng, batch):
    """Batches of one sample, of one part, and of two parts; the first step has t = 1."""
    a = Image(4, 5, rotate=20, elastic=0.5, smooth=1.5, noise=0.05)
    X, y = rng.uniform(0, 1, (batch, 20)), rng.integers(0, 2, batch)
    options = {"epochs": 1, "batch_size": "full", "optimizer": fn.SGD(0.5), "progress": False, "shuffle": False}
    changed = np.empty_like(X)
    plan = a.plan(20, X.dtype, 1)
    kernels.apply(plan.constants, plan.basis, plan.room, X, 1, 9, changed)
    nets = [fn.MLP([20, 6, 2], output="softmax", dtype="float64", seed=9) for _ in range(2)]
    nets[0].fit(X, y, augment=a, **options)
    nets[1].fit(changed, y, **options)
    for (W, b), (V, c) in zip(nets[0].weights, nets[1].weights, strict=True):
        np.testing.assert_allclose(W, V, rtol=0, atol=1e-13)
        np.testing.assert_allclose(b, c, rtol=0, atol=1e-13)


def test_validation_and_prediction_see_the_data_as_it_is(labelled):
    X, y = labelled
    net = fn.MLP([35, 12, 3], output="softmax", seed=5)
    history = net.fit(X, y, epochs=1, augment=Noise(1.0), validation=(X, y), progress=False)
    assert history.validation_loss[-1] == pytest.approx(net.loss(X, y), rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "extreme", [{"scale": (1e-3, 1e-3)}, {"scale": (999.0, 999.0)}, {"shear": 4e6}, {"shift": 4e6}]
)
def test_what_is_moved_out_of_sight_is_background(extreme, dtype):
    """Or a pixel seen from very near: never a number that was not there."""
    X = np.ones((20, 81), dtype)
    found = Image(9, 9, rotate=180.0, elastic=4e6, fill=0.25, **extreme).apply(X)
    assert ((found >= 0.25) & (found <= 1)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Noise(-1), "deviation must be at least 0"),
        (lambda: Image(0, 3), "height must be a whole number"),
        (lambda: Image(3000, 3000), "may have some"),
        (lambda: Image(3, 3, rotate=181), "from 0 to 180 degrees"),
        (lambda: Image(3, 3, scale=1.1), "pair of factors"),
        (lambda: Image(3, 3, scale=(0.0, 1.0)), "scale must be at least 0.001 and below 1000"),
        (lambda: Image(3, 3, scale=(1.0, 1e39)), "scale must be at least 0.001 and below 1000"),
        (lambda: Image(3, 3, shift=1e39), "shift must be at least 0 and below"),
        (lambda: Image(3, 3, scale=(1.1, 0.9)), "smaller factor first"),
        (lambda: Image(3, 3, elastic=-1), "elastic must be at least 0"),
        (lambda: Image(3, 3, smooth=0.5), "smooth must be at least 1"),
        (lambda: Image(3, 3, drop=1.0), "drop must be at least 0 and below 1"),
        (lambda: Image(3, 3, fill=float("nan")), "fill must be a finite number"),
        (lambda: Image(3, 3).apply(np.zeros((2, 8))), "no image of 3 x 3"),
        (lambda: Noise().apply(np.zeros(3)), "must have the shape"),
        (lambda: fn.MLP([8, 1]).fit(np.zeros((2, 8)), [0, 1], augment=Image(3, 3)), "no image of 3 x 3"),
        (lambda: fn.MLP([8, 1]).fit(np.zeros((2, 8)), [0, 1], augment="noise"), "augment must be None"),
    ],
)
def test_errors(make, message):
    with pytest.raises(InputError, match=message):
        make()

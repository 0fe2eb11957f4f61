"""Splits: parts of the right size, that partition the samples, the same for the same seed, fair to every class."""

import numpy as np
import pytest

from fastnn.data import split as split_module
from fastnn.data import train_test_split
from fastnn.data.split import split
from fastnn.errors import InputError


@pytest.mark.parametrize(("n", "fraction", "held"), [(10, 0.2, 2), (2, 0.01, 1), (2, 0.99, 1), (1797, 0.2, 359)])
@pytest.mark.parametrize("classes", [None, 1, 3])
def test_partitions_in_the_right_proportion(n, fraction, held, classes):
    train_index, held_index = split(n if classes is None else np.arange(n) % classes, fraction, seed=3)
    assert len(held_index) == held
    assert train_index.dtype == held_index.dtype == np.int64
    assert (np.diff(train_index) > 0).all()
    assert (np.diff(held_index) > 0).all()
    np.testing.assert_array_equal(np.sort(np.concatenate([train_index, held_index])), np.arange(n))


def test_every_class_gives_its_share_within_one_sample():
    counts = np.array([7, 100, 33, 1, 59])
    labels = np.random.Generator(np.random.Philox(0)).permutation(np.repeat(np.arange(5) * 10 - 20, counts))
    _, held_index = split(labels, 0.25, seed=1)
    held = np.array([(labels[held_index] == value).sum() for value in np.arange(5) * 10 - 20])
    assert held.sum() == 50
    assert (np.abs(held - counts / 4) < 1).all()


def test_equal_remainders_prefer_no_class():
    """Integers that are all different: were ties broken by value, the smallest would always be held out."""
    held = np.concatenate([split(np.arange(20), 0.2, seed)[1] for seed in range(50)])
    assert len(np.unique(held)) == 20


@pytest.mark.parametrize("labels", [np.arange(100) % 7, np.arange(100) // 40 * -3, np.arange(100).astype(str)])
@pytest.mark.parametrize("block", [1, 7, 100, 1000])
def test_what_is_held_out_of_each_class_is_drawn_by_rank(labels, block, monkeypatch):
    """Class by class, in their order: the samples in a random order, the first ones of it."""
    monkeypatch.setattr(split_module, "BLOCK", block)
    classes = np.unique(labels)
    _, held = split(labels, 0.3, seed=5)
    shares = [int((labels[held] == value).sum()) for value in classes]
    random = split_module.generator(5)
    random.permutation(len(classes))  # the order of equal remainders
    members = [np.flatnonzero(labels == value) for value in classes]
    drawn = [random.permutation(own)[:share] for own, share in zip(members, shares, strict=True)]
    assert held.tolist() == sorted(np.concatenate(drawn).tolist())


def test_seed_decides():
    first, again, other = (split(100, 0.3, seed)[1].tolist() for seed in (5, 5, 6))
    assert first == again != other


def test_train_test_split_keeps_samples_together_and_classes_apart():
    y = np.repeat(np.array(["cat", "dog"]), [90, 10])
    X = np.arange(100)[:, None] * [1.0, 2.0]
    X_train, X_test, y_train, y_test = train_test_split(X, y, test=0.2, seed=0)
    assert (X_train.shape, X_test.shape, (y_test == "dog").sum(), (y_train == "dog").sum()) == ((80, 2), (20, 2), 2, 8)
    np.testing.assert_array_equal(y_test == "dog", X_test[:, 0] >= 90)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 0.5, 0), "at least 2, got 1"),
        ((10, 0, 0), "between 0 and 1, got 0"),
        ((10, 1.0, 0), "between 0 and 1, got 1.0"),
        ((10, float("nan"), 0), "between 0 and 1, got nan"),
        ((10, "half", 0), "between 0 and 1, got 'half'"),
        ((10, 0.5, -1), "seed must be an integer, 0 or more, got -1"),
        ((10, 0.5, 0, True), "needs the class of each sample"),
        ((np.zeros((3, 2)), 0.5, 0), r"must be 1-D, got an array of shape \(3, 2\)"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(InputError, match=message):
        split(*arguments)


def test_different_lengths():
    with pytest.raises(InputError, match=r"X of shape \(3, 2\) and y of shape \(4,\)"):
        train_test_split(np.zeros((3, 2)), np.zeros(4))


@pytest.mark.parametrize("held", [0.1, 0.2, 0.5, 0.9])
def test_every_class_keeps_a_sample_to_train_on(held):
    """10 classes of one sample beside a large one: their remainders are as large as its."""
    labels = np.concatenate([np.zeros(100, int), np.arange(1, 11)])
    for seed in range(20):
        train_index, held_index = split(labels, held, seed)
        assert set(labels[train_index]) == set(range(11))
        assert len(held_index) == int(110 * held + 0.5)


def test_where_classes_cannot_all_keep_one():
    _, held_index = split(np.array([0, 0, 1, 2]), 0.5, seed=0)
    assert len(held_index) == 2


def test_what_cannot_be_split():
    X, y = np.zeros((4, 1)), np.array([0, 1, 0, 1])
    with pytest.raises(InputError, match="stratify must be True or False"):
        train_test_split(X, y, stratify=y)
    with pytest.raises(InputError, match="labels to split by must be of one kind"):
        train_test_split(X, np.array([0, "a", 0, "a"], object))
    with pytest.raises(InputError, match="X is an array with masked values"):
        train_test_split(np.ma.masked_equal(X, 0), y)

"""Normalization in the user's words: names, states, summary, errors."""

import numpy as np
import pytest

import fastnn as fn


def test_names_stand_for_objects():
    assert fn.Dense(3, norm="batch").norm == fn.BatchNorm(momentum=0.1, eps=1e-5)
    assert fn.Dense(3, norm="layer").norm == fn.LayerNorm(eps=1e-5)
    assert fn.Dense(3).norm is None
    assert [layer.norm for layer in fn.MLP([2, 3, 4, 1], norm="layer").layers] == [fn.LayerNorm()] * 2 + [None]


def test_a_new_network_has_gain_1_and_shift_0():
    batch, layer, last = fn.MLP(2, [fn.Dense(3, norm="batch"), fn.Dense(4, norm="layer"), fn.Dense(1)]).norms
    assert [array.tolist() for array in vars(batch).values()] == [[1] * 3, [0] * 3, [0] * 3, [1] * 3]
    assert (layer.gamma.tolist(), layer.beta.tolist(), layer.mean, layer.variance) == ([1] * 4, [0] * 4, None, None)
    assert last is None


def test_summary_names_the_norm():
    summary = fn.MLP([4, 100, 2], norm="batch").summary()
    assert "batch norm, relu" in summary
    assert f"{4 * 100 + 300 + 202} parameters" in summary


def net():
    return fn.MLP([2, 3, 1], norm="batch")


STATE = fn.NormState(np.ones(3), np.ones(3), np.ones(3), np.ones(3))
X, Y = np.zeros((9, 2)), np.zeros((9, 1))
REFUSED = {
    "name": (lambda: fn.Dense(3, norm="group"), "unknown norm 'group'", "batch, layer"),
    "eps": (lambda: fn.LayerNorm(0.0), "eps of LayerNorm", "1e-12", "0.0"),
    "momentum": (lambda: fn.BatchNorm(momentum=1.5), "momentum of BatchNorm must be at most 1", "1.5"),
    "momentum 0": (lambda: fn.BatchNorm(momentum=0), "momentum of BatchNorm must be above 0", "0"),
    "last layer": (lambda: fn.MLP(2, [fn.Dense(1, norm="batch")]), "hidden layers", "BatchNorm"),
    "both": (lambda: fn.MLP(2, [fn.Dense(1)], norm="batch"), "norm and dropout go with a list of sizes"),
    "one sample": (lambda: net().fit(X, Y, batch_size=1, progress=False), "cannot normalize one sample"),
    "one left": (lambda: net().fit(X, Y, batch_size=4, progress=False), "9 samples % batch_size 4 == 1", "another"),
    "one at all": (lambda: net().fit(X[:1], Y[:1], batch_size="full", progress=False), "cannot normalize one sample"),
    "gradient": (lambda: net().gradient(X[:1], Y[:1]), "cannot normalize one sample"),
    "too few": (lambda: net().set_norms([STATE]), "2 states", "got 1"),
    "no list": (lambda: net().set_norms(7), "norms must be a list", "7"),
    "no state": (lambda: net().set_norms([None, None]), "norms[0]", "NormState", "None"),
    "no norm": (lambda: net().set_norms([STATE, STATE]), "norms[1] must be None"),
    "no mean": (lambda: net().set_norms([fn.NormState(np.ones(3), np.ones(3)), None]), "norms[0].mean"),
    "shape": (lambda: net().set_norms([fn.NormState(*[np.ones(2)] * 4), None]), "norms[0].gamma", "(3,)", "(2,)"),
    "variance": (lambda: net().set_norms([fn.NormState(*[-np.ones(3)] * 4), None]), "norms[0].variance", "-1"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    call, *parts = REFUSED[case]
    with pytest.raises(fn.InputError) as caught:
        call()
    assert [part for part in parts if part not in str(caught.value)] == [], str(caught.value)

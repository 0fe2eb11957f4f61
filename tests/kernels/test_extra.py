"""What few networks have is compiled for them alone."""

from pathlib import Path

import numpy as np
import pytest
from helpers import compiled_by, python
from numba import njit, types

import fastnn as fn
from fastnn import description
from fastnn_kernels import epoch, jit
from fastnn_kernels.work import FIELDS, open_work

RARE = {
    "drop",
    "drop_delta",
    "disturb",
    "augmented",
    "take",
    "give_back",
    "_noisy_relu",
    "_delta_batch",
    "_update_whole",
}


def test_plain_networks_compile_nothing_of_it():
    plain, whole = ({one.library.name for one in compiled_by(epoch.train, extras)} for extras in (None, True))
    assert plain < whole
    assert whole >= RARE
    assert not plain & RARE


SOFTSIGN = fn.CustomActivation(lambda z: z / (1.0 + abs(z)), lambda z: 1.0 / (1.0 + abs(z)) ** 2, name="softsign")


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (fn.Dense(3, "gelu"), None),
        (fn.Dense(3, "relu", norm="batch"), True),
        (fn.Dense(3, "relu", norm="layer"), True),
        (fn.Dense(3, "relu", dropout=0.5), True),
        (fn.Dense(3, "relu", dropout=fn.Dropout(0.5, "batch")), True),
        (fn.Dense(3, "relu", noise=fn.Shakeout(0.2, 0.1)), True),
        (fn.Dense(3, "noisy_relu"), True),
        (fn.Dense(3, SOFTSIGN), True),
    ],
    ids=lambda value: getattr(value, "label", None),
)
def test_which_networks_have_it(layer, expected):
    net = fn.MLP(2, [layer, fn.Dense(1, "linear")])
    assert description.extras(net) is expected
    assert description.extras(net, fn.augment.Noise(0.1)) is True


@jit.extra(types.boolean)
def something_rare(work):
    return work.numbers[0] > 0


@njit(**jit.FLAGS)
def ask(params, addresses, extras, is_there):
    return is_there and something_rare(open_work(params, addresses, extras))


def ask_of(number, extras, is_there):
    numbers, addresses = np.array([number]), np.zeros(len(FIELDS), np.int64)
    addresses[FIELDS.index("numbers")] = numbers.ctypes.data
    return ask(np.zeros(1, np.float32), addresses, extras, is_there)


def test_those_who_have_it_call_it():
    assert ask_of(1, True, True)
    assert not ask_of(0, True, True)
    assert not ask_of(1, True, False)
    assert not ask_of(1, None, False)


def test_a_call_without_it_ends_the_process():
    """Never a wrong number: nobody who asks `description.extras` comes there."""
    code = "import sys; sys.path[:0] = sys.argv[1:]; import test_extra; print(test_extra.ask_of(1, {}, True))"
    here = Path(__file__).parent
    assert python(code.format(True), here, here.parent).stdout == "True\n"
    without = python(code.format(None), here, here.parent, check=False)
    assert without.returncode != 0
    assert without.stdout == ""

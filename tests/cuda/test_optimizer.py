"""The rates of a step, from the source that the processor compiles, and the learning rates of schedules."""

import math

import harness
import numpy as np
import pytest

from fastnn_kernels import optimizer as codes
from fastnn_kernels import schedule
from fastnn_kernels.cuda import optimizer
from fastnn_kernels.cuda.driver import kernel
from fastnn_kernels.cuda.work import COUNT, NOW, T
from fastnn_kernels.optimizer import CODES, CONSTANTS, SCHEDULE, Rates
from fastnn_kernels.work import OPTIMIZER

LR, STEPS_OF_EPOCH, EVERY, FLOOR, GAMMA = 0.3, 4, 3.0, 0.1, 0.7


@kernel
def _rates(work):
    optimizer.rates(work)


@kernel
def _learning_rate(out, constants, t):
    out[0] = optimizer.learning_rate(constants, t)


def rates(name, constants, t, dtype):
    now = np.zeros(NOW, np.int64)
    now[T], now[COUNT] = t, 1
    given = {"numbers": {OPTIMIZER: CODES[name]}, "constants": constants, "now": now}
    one = harness.make((2, 2), [0], 1, dtype, rates=np.zeros(len(Rates._fields)), **given)
    _rates[1, 1](one.work)
    return Rates(*one.work.rates.copy_to_host())


def constants(**values):
    filled = np.zeros(CONSTANTS)
    filled[[codes.LR, codes.BETA1, codes.BETA2, codes.EPS, codes.EPS_ROOT]] = LR, 0.9, 0.999, 1e-8, 1e-6
    filled[SCHEDULE + schedule.STEPS] = STEPS_OF_EPOCH
    for name, value in values.items():
        filled[getattr(codes, name)] = value
    return filled


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("t", [1, 7, 1000])
def test_adams_corrections(t, dtype):
    found = rates("adam", constants(), t, dtype)
    eps = float(np.finfo(dtype).eps)
    assert found.lr == pytest.approx(LR, rel=eps)
    squares, near = -math.expm1(t * math.log(0.999)), 4096 * 2.2e-16 + eps
    correction = math.sqrt(squares) / -math.expm1(t * math.log(0.9))
    assert found.correction == pytest.approx(correction, rel=near)
    assert found.eps == pytest.approx(1e-8 * math.sqrt(squares), rel=near)
    assert found.eps_root == pytest.approx(1e-6 * squares, rel=near)
    assert (found.direct, found.shrink, found.threshold, found.blend) == (0, 0, 0, 0)


def test_one_minus_beta_is_not_taken_from_a_rounded_beta():
    assert rates("adam", constants(), 1, np.float32).rest2 == np.float32(1 - 0.999)
    assert np.float32(1) - np.float32(0.999) != np.float32(1 - 0.999)


def test_the_rates_around_the_update():
    values = {"DECAY": 0.1, "PENALTY_L1": 0.2, "PENALTY_L2": 0.4, "CLIP_VALUE": 0.5, "CLIP_NORM": 0.6, "AVERAGE": 0.9}
    found = rates("adamw", constants(**values), 3, np.float64)
    assert (found.l1, found.l2, found.threshold, found.clip_value, found.clip_norm) == (0.2, 0.4, 0.0, 0.5, 0.6)
    assert found.shrink == LR * 0.1
    assert found.blend == 1 - 4 / 13
    assert rates("adamw", constants(**values), 1000, np.float64).blend == 1 - 0.9
    proximal = rates("sgd", constants(**values, PROXIMAL=1), 3, np.float64)
    assert (proximal.l1, proximal.threshold, proximal.shrink) == (0.0, LR * 0.2, 0.0)


def expected_factor(name, e, warm_up):
    if e < warm_up:
        return min((e * STEPS_OF_EPOCH + 1) / (warm_up * STEPS_OF_EPOCH), 1.0)
    match name:
        case "step":
            return GAMMA ** (e // EVERY)
        case "exponential":
            return math.exp(e * math.log(GAMMA))
        case "inverse":
            return 1 / (1 + GAMMA * e)
        case "cosine":
            part = min((e - warm_up) / (EVERY - warm_up), 1.0)
            return FLOOR + (1 - FLOOR) * math.cos(math.pi * part / 2) ** 2
    return 1.0


@pytest.mark.parametrize("warm_up", [0.0, 1.5])
@pytest.mark.parametrize("name", ["constant", "step", "exponential", "inverse", "cosine"])
def test_schedules(name, warm_up):
    filled = constants()
    filled[SCHEDULE:] = schedule.CODES[name], GAMMA, EVERY, FLOOR, warm_up, STEPS_OF_EPOCH, 10, 0.0, 0.0
    for t in range(11, 30):
        out = np.zeros(1)
        _learning_rate[1, 1](out, filled, np.int64(t))
        assert out[0] == pytest.approx(LR * expected_factor(name, (t - 11) / STEPS_OF_EPOCH, warm_up), rel=1e-14)


def test_one_cycle_goes_up_to_1_and_down_to_the_floor():
    filled = constants()
    filled[SCHEDULE:] = schedule.CODES["one_cycle"], GAMMA, 5.0, FLOOR, 0.0, STEPS_OF_EPOCH, 0, 0.3, 0.0
    out = np.zeros(20)
    for t in range(1, 21):
        _learning_rate[1, 1](out[t - 1 :], filled, np.int64(t))
    factors = out / LR
    assert factors[[0, 5, 19]] == pytest.approx([GAMMA, 1.0, FLOOR], rel=1e-14)
    assert (np.diff(factors[:6]) > 0).all()
    assert (np.diff(factors[5:]) < 0).all()

"""What the device's mathematical library does only with a table in local memory, mirroring ../elementary.py."""

import math
from collections.abc import Callable

import numpy as np

from fastnn_kernels.cuda.driver import device
from fastnn_kernels.elementary import COSINE, SINE

_ONE = np.uint32(1)


def _polynomial(coefficients: tuple[float, ...]) -> Callable:
    """A function of x: the polynomial with these coefficients, highest power first, by Horner's rule."""
    *higher, last = coefficients
    if not higher:
        return device(lambda x, real: real(last))
    before = _polynomial(tuple(higher))
    return device(lambda x, real: before(x, real) * x + real(last))


_sine_tail, _cosine_tail = _polynomial(SINE), _polynomial(COSINE)


@device
def cos_sin_turns(u, real):
    """cos(2 pi u) and sin(2 pi u) for u in [0, 1], to a few units in the last place of 1."""
    quarter = np.uint32(u * real(4) + real(0.5))
    x = (u - real(quarter) * real(0.25)) * real(2 * math.pi)
    x2 = x * x
    sine, cosine = x * x2 * _sine_tail(x2, real) + x, x2 * _cosine_tail(x2, real) + real(1)
    is_odd, is_left, is_low = quarter & _ONE, (quarter + _ONE) & np.uint32(2), quarter & np.uint32(2)
    c, s = sine if is_odd else cosine, cosine if is_odd else sine
    return -c if is_left else c, -s if is_low else s

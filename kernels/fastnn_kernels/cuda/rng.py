"""Counter-based random numbers, the same as ../rng.py draws: element j of a row is word j // RUN % 4 of one draw.

A thread draws for its own element. Streams, counters and keys are those of ../rng.py.
"""

import math

import numpy as np

from fastnn_kernels.cuda.driver import device
from fastnn_kernels.rng import GROUP, M0, M1, MASK, RUN, SHIFT, SHIFT_24, STEPS, W0, W1

_RUN, _GROUP = np.uint32(RUN), np.uint32(GROUP)
_FOUR, _TWO, _ONE = np.uint32(4), np.uint32(2), np.uint32(1)


@device
def philox(c0, c1, c2, c3, k0, k1):
    """Four random words of 32 bits from a counter of four and a key of two; all of them held in uint64."""
    for _ in range(10):
        p0 = M0 * c0
        p1 = M1 * c2
        c0, c1, c2, c3 = (p1 >> SHIFT) ^ c1 ^ k0, p1 & MASK, (p0 >> SHIFT) ^ c3 ^ k1, p0 & MASK
        k0 = (k0 + W0) & MASK
        k1 = (k1 + W1) & MASK
    return c0, c1, c2, c3


@device
def _words(j, stream, sample, t, seed):
    """The draw that element j belongs to."""
    draw = j // _GROUP * _RUN + j % _RUN
    return philox(
        np.uint64(draw),
        np.uint64(stream),
        np.uint64(sample) & MASK,
        np.uint64(t) & MASK,
        np.uint64(seed) & MASK,
        np.uint64(seed) >> SHIFT,
    )


@device
def _number(word, real):
    return real(word >> SHIFT_24) * real(1.0 / STEPS)


@device
def uniform(j, stream, sample, t, seed, real):
    """Element j, uint32, of the row of uniform numbers in [0, 1) that (stream, sample, t, seed) stand for."""
    w0, w1, w2, w3 = _words(j, stream, sample, t, seed)
    which = j // _RUN % _FOUR
    low, high = w0 if which == 0 else w1, w2 if which == _TWO else w3
    return _number(low if which < _TWO else high, real)


@device
def normal(j, stream, sample, t, seed, real):
    """The same of a row of standard normal numbers: words 0 and 1 make a pair, words 2 and 3 (Box and Muller 1958)."""
    w0, w1, w2, w3 = _words(j, stream, sample, t, seed)
    which = j // _RUN % _FOUR
    first, second = _number(w0 if which < _TWO else w2, real), _number(w1 if which < _TWO else w3, real)
    radius = math.sqrt(real(-2) * math.log(real(1) - first))
    turn = second * real(2 * math.pi)
    return radius * (math.cos(turn) if which % _TWO == 0 else math.sin(turn))

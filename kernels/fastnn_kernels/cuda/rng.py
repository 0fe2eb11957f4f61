"""Counter-based random numbers, the same as ../rng.py draws: element j of a row is word j // RUN % 4 of one draw.

A thread draws for its own element, or for all four elements of a draw, which are RUN apart. Streams, counters and keys
are those of ../rng.py.
"""

import math

import numpy as np

from fastnn_kernels import rng
from fastnn_kernels.cuda.driver import device, ported
from fastnn_kernels.cuda.elementary import cos_sin_turns
from fastnn_kernels.rng import GROUP, MASK, RUN, SHIFT, SHIFT_24, STEPS

_RUN, _GROUP = np.uint32(RUN), np.uint32(GROUP)
_FOUR, _TWO, _ONE = np.uint32(4), np.uint32(2), np.uint32(1)


philox = ported(rng.philox)


@device
def _words(draw, stream, sample, t, seed):
    """The four words of a draw."""
    return philox(
        np.uint64(draw),
        np.uint64(stream),
        np.uint64(sample) & MASK,
        np.uint64(t) & MASK,
        np.uint64(seed) & MASK,
        np.uint64(seed) >> SHIFT,
    )


@device
def _draw(j):
    """The draw that element j belongs to."""
    return j // _GROUP * _RUN + j % _RUN


@device
def draws_of(count):
    """How many draws whole groups for `count` elements take."""
    return (count + (_GROUP - _ONE)) // _GROUP * _RUN


@device
def first_element(draw):
    """The first of the four elements of a draw."""
    return draw // _RUN * _GROUP + draw % _RUN


@device
def _number(word, real):
    return real(word >> SHIFT_24) * real(1.0 / STEPS)


@device
def _pair(first, second, real):
    """Two standard normal numbers from two words (Box and Muller 1958)."""
    radius = math.sqrt(real(-2) * math.log(real(1) - _number(first, real)))
    cosine, sine = cos_sin_turns(_number(second, real), real)
    return radius * cosine, radius * sine


@device
def uniform(j, stream, sample, t, seed, real):
    """Element j, uint32, of the row of uniform numbers in [0, 1) that (stream, sample, t, seed) stand for."""
    w0, w1, w2, w3 = _words(_draw(j), stream, sample, t, seed)
    which = j // _RUN % _FOUR
    low, high = w0 if which == 0 else w1, w2 if which == _TWO else w3
    return _number(low if which < _TWO else high, real)


@device
def normal(j, stream, sample, t, seed, real):
    """The same of a row of standard normal numbers: words 0 and 1 make a pair, words 2 and 3."""
    w0, w1, w2, w3 = _words(_draw(j), stream, sample, t, seed)
    which = j // _RUN % _FOUR
    even, odd = _pair(w0 if which < _TWO else w2, w1 if which < _TWO else w3, real)
    return even if which % _TWO == 0 else odd


@device
def four_uniforms(draw, stream, sample, t, seed, real):
    """The uniform numbers of the four elements of a draw."""
    w0, w1, w2, w3 = _words(draw, stream, sample, t, seed)
    return _number(w0, real), _number(w1, real), _number(w2, real), _number(w3, real)


@device
def four_normals(draw, stream, sample, t, seed, real):
    """The standard normal numbers of the four elements of a draw."""
    w0, w1, w2, w3 = _words(draw, stream, sample, t, seed)
    e0, e1 = _pair(w0, w1, real)
    e2, e3 = _pair(w2, w3, real)
    return e0, e1, e2, e3

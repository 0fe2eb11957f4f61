"""Counter-based random numbers: the same number for the same counter, on any thread, in any order.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011).
"""

import numpy as np

from fastnn_kernels.elementary import cos_sin_turns, log
from fastnn_kernels.jit import inline, kernel
from fastnn_kernels.native import lanes, load, sqrt, store

RUN = 16  # draws side by side, whatever the vectors of the machine
GROUP = 4 * RUN  # elements that a run of draws gives: rows of random numbers need room for whole groups

# What numbers are drawn for: times 65536, plus the layer, they make the stream. The shuffle's stream is 0.
DROPOUT, DROPCONNECT, SHAKEOUT, WHITEOUT, NOISY_RELU, AUGMENTATION = (purpose << 16 for purpose in range(1, 7))

MASK = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)
STEPS = 1 << 24  # floats are multiples of 1 / STEPS
SHIFT_24, UNIT_24 = np.uint64(8), np.float32(1 / STEPS)
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@inline
def philox(c0, c1, c2, c3, k0, k1):
    """Four random words of 32 bits from a counter of four and a key of two; all of them held in uint64.

    Inlined, so that a loop over counters becomes one over vectors of them.
    """
    for _ in range(10):
        p0 = M0 * c0
        p1 = M1 * c2
        c0, c1, c2, c3 = (p1 >> SHIFT) ^ c1 ^ k0, p1 & MASK, (p0 >> SHIFT) ^ c3 ^ k1, p0 & MASK
        k0 = (k0 + W0) & MASK
        k1 = (k1 + W1) & MASK
    return c0, c1, c2, c3


@kernel
def shuffle(order, count, seed, stream):
    """Put the `count` elements at pointer `order` into a random order (Fisher and Yates).

    The order follows from seed and stream alone; count is below 2^32.
    """
    low = np.uint64(stream) & MASK
    high = np.uint64(stream) >> SHIFT
    k0 = np.uint64(seed) & MASK
    k1 = np.uint64(seed) >> SHIFT
    i = count - 1
    while i > 0:
        words = philox(np.uint64(i) >> np.uint64(2), np.uint64(0), low, high, k0, k1)
        for word in words:
            if i > 0:
                j = (word * np.uint64(i + 1)) >> SHIFT
                order[i], order[j] = order[j], order[i]
                i -= 1


@kernel
def group(out, j, c1, c2, c3, seed):
    """The GROUP of uniform numbers from element j of a row on, j a multiple of GROUP.

    The words of RUN draws as floats of 24 bits in [0, 1), out (4, RUN): all first words, all second words, ...
    """
    c0 = j // 4
    k0, k1 = np.uint64(seed) & MASK, np.uint64(seed) >> SHIFT
    for i in range(RUN):
        words = philox(np.uint64(c0 + i), np.uint64(c1), np.uint64(c2) & MASK, np.uint64(c3) & MASK, k0, k1)
        out[i] = np.float32(words[0] >> SHIFT_24) * UNIT_24
        out[i + RUN] = np.float32(words[1] >> SHIFT_24) * UNIT_24
        out[i + 2 * RUN] = np.float32(words[2] >> SHIFT_24) * UNIT_24
        out[i + 3 * RUN] = np.float32(words[3] >> SHIFT_24) * UNIT_24


@kernel
def normal_group(out, j, c1, c2, c3, seed):
    """The same for standard normal numbers: words 0 and 1 make a pair, words 2 and 3 (Box and Muller 1958)."""
    group(out, j, c1, c2, c3, seed)
    for first in range(0, GROUP, 2 * RUN):
        for i in range(first, first + RUN, lanes(out)):
            radius = sqrt(-2.0 * log(1.0 - load(out + i)))
            cosine, sine = cos_sin_turns(load(out + (i + RUN)))
            store(out + i, radius * cosine)
            store(out + (i + RUN), radius * sine)


@kernel
def uniforms(out, count, stream, sample, t, seed):
    """Uniform numbers in [0, 1) of a row of `count` elements; out has room for whole GROUPs.

    They follow from (stream, sample, t, seed) alone: stream = purpose * 65536 + layer; t: the step. Element j is word
    j // RUN % 4 of draw j // GROUP * RUN + j % RUN.
    """
    for j in range(0, count, GROUP):
        group(out + j, j, stream, sample, t, seed)


@kernel
def normals(out, count, stream, sample, t, seed):
    """Standard normal numbers of a row, the same way."""
    for j in range(0, count, GROUP):
        normal_group(out + j, j, stream, sample, t, seed)

"""Counter-based random numbers: the same number for the same counter, on any thread, in any order.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011).
"""

import numpy as np

from fastnn_kernels.jit import kernel

MASK = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@kernel
def philox(c0, c1, c2, c3, k0, k1):
    """Four random words of 32 bits from a counter of four and a key of two; all of them held in uint64."""
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

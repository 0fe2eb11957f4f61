"""Sums over the threads of a block, in one order."""

import numpy as np

from fastnn_kernels.cuda.driver import cuda, device

_TWO = np.uint32(2)


@device
def fold(sums, thread, count, left):
    """The `count` numbers in shared memory added up until `left` sums lie at its start, each of every `left`-th number.

    All threads of the block call it, each with another number below theirs; count / left is a power of two.
    """
    threads = np.uint32(cuda.blockDim.x)
    cuda.syncthreads()
    while count > left:
        count = count // _TWO
        i = thread
        while i < count:
            sums[i] += sums[i + count]
            i += threads
        cuda.syncthreads()

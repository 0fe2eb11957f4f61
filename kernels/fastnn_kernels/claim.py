"""Work that is divided while it is done, so that a slow processor leaves to the others what it has not begun.

Every worker has units of its own, which lie near to its cache, and takes them one by one; then it helps the others in
turn. Who does a unit must change nothing in its result. Of each worker's units only the number taken is shared, beside
the number of meetings so far: whoever comes first after a meeting begins anew at 0. So between two meetings a team can
divide one thing.
"""

from fastnn_kernels.jit import kernel
from fastnn_kernels.native.atomic import compare_exchange, fetch_add, load_acquire
from fastnn_kernels.team import ARRIVALS, CLAIMS, SPACING

BITS = 32  # of a word: units taken; above them, the meetings before
MANY_ROWS = 128  # of a pass, from which on helping pays: weights and what goes with them come from another core


@kernel
def helpers(rows, size):
    """How many workers take units of one: all, or only itself."""
    return size if rows >= MANY_ROWS else 1


@kernel
def next_of(words, owner, size, done):
    """The number of the next of a worker's units, which may be more than it has.

    size: how many workers take them; done: how many this one has taken.
    """
    if size == 1:
        return done
    word, meetings = words + (CLAIMS + owner * SPACING), load_acquire(words + ARRIVALS) // size % (1 << (BITS - 1))
    found = load_acquire(word)
    if found >> BITS != meetings:
        compare_exchange(word, found, meetings << BITS)
    return fetch_add(word, 1) & ((1 << BITS) - 1)

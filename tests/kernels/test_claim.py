"""Work that workers take unit by unit: each unit once, one's own first, and a slow worker is helped."""

import numpy as np
import pytest
from numba import njit

from fastnn_kernels import team
from fastnn_kernels.claim import MANY_ROWS, helpers, next_of
from fastnn_kernels.jit import FLAGS
from fastnn_kernels.native import address
from fastnn_kernels.native.atomic import compare_exchange, fetch_add, give_way, load_acquire
from fastnn_kernels.team import Team, new_words

SIZES = [1, 2, 3, 5]
PATIENCE = 10**7  # looks at what the others have done, before a test fails


@njit(**FLAGS)
def rounds(rank, size, words, counts, log):
    """In every round all units of all workers, counts (rounds, size): log (rounds, size, units) counts who came."""
    w = address(words, 0)
    for r in range(len(counts)):
        for turn in range(size):
            owner, done = (rank + turn) % size, 0
            number = next_of(w, owner, size, done)
            while number < counts[r, owner]:
                log[r, owner, number] += 1
                done += 1
                number = next_of(w, owner, size, done)
        if not team.meet(w, size):
            return


@njit(**FLAGS)
def wait_for(word, least):
    looks = 0
    while load_acquire(word) < least and looks < PATIENCE:
        looks += 1
        give_way()


@njit(**FLAGS)
def with_a_sleeper(rank, size, words, units, done, who):
    """Rank 0 waits in its first unit, which the others let it begin, until all else is done. who (size, units): by."""
    w, total, begun = address(words, 0), address(done, 0), address(done, 1)
    if rank != 0:
        wait_for(begun, 1)
    for turn in range(size):
        owner, mine = (rank + turn) % size, 0
        number = next_of(w, owner, size, mine)
        while number < units:
            who[owner, number] = rank
            mine += 1
            if rank == 0:
                fetch_add(begun, 1)
                wait_for(total, size * units - 1)
            fetch_add(total, 1)
            number = next_of(w, owner, size, mine)


@njit(**FLAGS)
def exchange(words, expected, value):
    return compare_exchange(address(words, 0), expected, value)


@njit(**FLAGS)
def how_many_help(rows, size):
    return helpers(rows, size)


@pytest.mark.parametrize("size", SIZES)
def test_every_unit_is_taken_once_round_after_round(size, rng):
    counts = rng.integers(0, 20, (500, size))
    words, log = new_words(size), np.zeros((500, size, 20), np.int64)
    with Team(size) as workers:
        workers.run(rounds, words, words, counts, log)
    assert (log == (np.arange(20) < counts[:, :, np.newaxis])).all()


@pytest.mark.parametrize("size", [2, 3])
def test_a_worker_that_does_not_come_on_is_helped(size):
    words, done, who = new_words(size), np.zeros(2, np.int64), np.full((size, 6), -1)
    with Team(size) as workers:
        workers.run(with_a_sleeper, words, words, 6, done, who)
    assert done[0] == 6 * size
    assert (who == 0).sum() == 1  # it waited until all else was done: by others


def test_words_are_exchanged_only_if_they_are_as_expected():
    words = np.array([5], np.int64)
    assert not exchange(words, 4, 7)
    assert words[0] == 5
    assert exchange(words, 5, 7)
    assert words[0] == 7


def test_helping_takes_rows_enough():
    assert how_many_help(MANY_ROWS - 1, 4) == 1
    assert how_many_help(MANY_ROWS, 4) == 4

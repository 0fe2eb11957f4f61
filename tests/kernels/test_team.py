"""Threads that meet: the barrier, stopping, failing, and that nobody is left behind."""

import os
import threading
import time

import numpy as np
import pytest
from numba import njit

from fastnn_kernels import team
from fastnn_kernels.jit import FLAGS
from fastnn_kernels.native import address
from fastnn_kernels.native.atomic import load_acquire, store_release
from fastnn_kernels.team import Team, new_words

SIZES = [1, 2, 3]
FOREVER = 2**62


@njit(**FLAGS)
def rounds(rank, size, words, count, log, wrong):
    """Meet twice a round; between the meetings everybody must have written this round's number."""
    w, mine = address(words, 0), address(log, 0)
    for r in range(1, count + 1):
        store_release(mine + rank, r)
        if not team.meet(w, size):
            return
        for other in range(size):
            if load_acquire(mine + other) != r:
                wrong[rank] += 1
        if not team.meet(w, size):
            return


@njit(**FLAGS)
def until_stopped(rank, size, words, leaving, flagging, count, state):
    """Steps as step.py takes them; rank `leaving` leaves in its second one, rank `flagging` raises the flag there."""
    w = address(words, 0)
    while count[rank] < FOREVER:
        if rank == leaving and count[rank] == 1:
            return
        count[rank] += 1
        if rank == flagging and count[rank] == 2:
            team.raise_flag(w)
        if rank == 0:
            team.decide(w)
        if not team.meet(w, size):
            return
        state[rank] = team.agreed(w)
        if state[rank] != team.GOES_ON:
            return
        if not team.meet(w, size):
            return


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Nothing is compiled while a test polls."""
    words, numbers = new_words(), np.zeros(1, np.int64)
    words[team.STOP] = 1
    until_stopped(0, 1, words, -1, -1, numbers, numbers)
    rounds(0, 1, words, 1, numbers, numbers)


def start(size, poll=None, function=until_stopped, leaving=-1, flagging=-1):
    """Run until stopped; each thread's count and state."""
    words, count, state = new_words(), np.zeros(size, np.int64), np.full(size, -1)
    with Team(size) as workers:
        try:
            workers.run(
                function,
                words,
                words,
                leaving,
                flagging,
                count,
                state,
                poll=None if poll is None else lambda: poll(words),
            )
        finally:
            nobody_is_in(workers)
    return count, state


def nobody_is_in(workers):
    """All threads of the team are free: each takes part in a new round of its own."""
    words, log, wrong = new_words(), np.zeros(workers.size, np.int64), np.zeros(workers.size, np.int64)
    workers.run(rounds, words, words, 3, log, wrong)
    assert log.tolist() == [3] * workers.size


@pytest.fixture(autouse=True)
def no_thread_remains():
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("fastnn")]


@pytest.mark.parametrize("size", SIZES)
def test_nobody_passes_a_barrier_alone(size):
    words, log, wrong = new_words(), np.zeros(size, np.int64), np.zeros(size, np.int64)
    with Team(size) as workers:
        workers.run(rounds, words, words, 2000, log, wrong)
    assert log.tolist() == [2000] * size
    assert not wrong.any()


@pytest.mark.parametrize("size", SIZES)
def test_all_stop_at_the_same_step(size):
    def poll(words):
        words[team.STOP] = 1

    count, state = start(size, poll)
    assert count[0] > 1
    assert len(set(count)) == 1
    assert state.tolist() == [team.STOPPED] * size


@pytest.mark.parametrize("size", SIZES)
def test_a_flag_is_seen_by_all_at_the_same_step(size):
    count, state = start(size, flagging=size - 1)
    assert count.tolist() == [2] * size
    assert state.tolist() == [team.DIVERGED] * size


@njit(**FLAGS)
def failing(rank, size, words, count, seen):
    """Everybody fails `count` times, each time at other arguments, and sees what follows."""
    w = address(words, 0)
    for i in range(count):
        team.fail(w, rank + 1, np.float32(i + 0.5), -1.5 * (rank + 1))
    if team.meet(w, size):
        seen[rank] = team.agreed(w)


@pytest.mark.parametrize("size", SIZES)
def test_one_failure_of_many_is_kept_whole(size):
    words, seen = new_words(), np.zeros(size, np.int64)
    with Team(size) as workers:
        workers.run(failing, words, words, 100, seen)
    assert seen.tolist() == [team.DIVERGED] * size
    assert words[team.FAILURES] == 100 * size
    layer, arguments = words[team.FAILED], words[team.ARGUMENTS : team.ARGUMENTS + 2].view(np.float64)
    assert 1 <= layer <= size
    assert arguments.tolist() == [0.5, -1.5 * layer]


@pytest.mark.parametrize("size", SIZES)
def test_interrupt_while_polling_leaves_nobody_behind(size):
    def poll(words):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(size, poll)


@pytest.mark.parametrize("started", [0, 1, 2])
def test_interrupt_before_all_have_started_leaves_nobody_behind(started):
    class Interrupting:
        def put(self, call):
            raise KeyboardInterrupt

    words, log, wrong = new_words(), np.zeros(3, np.int64), np.zeros(3, np.int64)
    with Team(3) as workers:
        calls = workers._calls[started]
        workers._calls[started] = Interrupting()
        with pytest.raises(KeyboardInterrupt):
            workers.run(rounds, words, words, 3, log, wrong)
        workers._calls[started] = calls
        assert not log.any()
        nobody_is_in(workers)


@pytest.mark.parametrize("size", SIZES)
def test_a_worker_that_raises_does_not_keep_the_others_waiting(size):
    def function(rank, of, *args):
        until_stopped(rank, of, *args)  # the last one leaves after its first step
        if rank == of - 1:
            raise ArithmeticError("worker failed")

    def poll(words):
        assert time.monotonic() - began < 30

    began = time.monotonic()
    with pytest.raises(ArithmeticError, match="worker failed"):
        start(size, poll, function, leaving=size - 1)


def test_poll_is_called_while_the_workers_work():
    calls = []

    def poll(words):
        calls.append(time.monotonic())
        words[team.STOP] = len(calls) == 3

    start(2, poll)
    assert len(calls) >= 3
    assert calls[2] - calls[0] > 0.1  # sleeping in between: about ten times a second


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot be placed on this system")
@pytest.mark.parametrize(("allowed", "size"), [({3, 5}, 2), ({3, 5}, 3), ({3, 5, 7}, 2), ({3}, 2)])
def test_a_team_that_takes_all_processors_begins_on_different_ones(allowed, size, monkeypatch):
    """And is free to be moved again, even where a processor has just gone."""
    calls, threads = [], []

    def place(_, processors):
        calls.append((threading.get_ident(), set(processors)))
        if processors == {5}:
            raise OSError

    monkeypatch.setattr(team.os, "sched_getaffinity", lambda _: allowed)
    monkeypatch.setattr(team.os, "sched_setaffinity", place)
    with Team(size) as workers:
        workers.run(lambda rank, _: threads.append((rank, threading.get_ident())), new_words())
    placed = [[processors for one, processors in calls if one == thread] for _, thread in sorted(threads)]
    takes_all = allowed == {3, 5}
    assert placed == [[{(3, 5)[rank % 2]}, allowed] if takes_all else [] for rank in range(size)]

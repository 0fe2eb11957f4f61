"""Taking turns: every peer in a process of its own, one of them working at a time.

A process is born confined to its processors and threads (environment.py), prepares a workload when told to, and trains
when it is its turn; between turns it sleeps. A round gives each peer one turn, so that whatever slows the machine for a
while slows all of them.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import multiprocessing
import signal
import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from fastnn.bench.environment import ON_DEVICE, confined
from fastnn.bench.peers import PEERS, PEERS_ON_DEVICE
from fastnn.bench.workloads import Workload

SHORTEST_TURN = 0.2
"""Seconds: a turn repeats epochs until it lasts so long."""

LEAST_EPOCHS, LONG_TURN = 3, 2.0
"""So many epochs make a turn too, if it lasts no more seconds: what a call costs before its first one weighs less."""

PAUSE = 0.02
"""Seconds before a turn, for the threads of the peer before it to stop spinning."""

LIMIT = "limit"
"""The name of the process that measures the fused multiply-add limit, in turns like a peer."""


@dataclass
class Result:
    """What was measured of one peer on one workload."""

    peer: str
    start_seconds: float = math.nan  # building the network and the first epoch, less a later epoch: mostly compiling
    epoch_seconds: list[float] = field(default_factory=list)  # one value a round
    reason: str | None = None  # why there is no measurement

    @property
    def median(self) -> float:
        return statistics.median(self.epoch_seconds) if self.epoch_seconds else math.nan


@dataclass
class Comparison:
    """All peers on one workload with so many threads, or ON_DEVICE, and the limit in operations per second."""

    workload: Workload
    threads: int
    limit: float
    results: list[Result]

    def samples_per_second(self, result: Result) -> float:
        return self.workload.samples / result.median

    def flops(self, result: Result) -> float:
        """Operations per second."""
        return self.workload.flops / result.median

    def share(self, result: Result) -> float:
        """The share of the limit, 0 to 1."""
        return self.flops(result) / self.limit

    def ratio(self, result: Result) -> float:
        """Samples per second over those of the best other peer; NaN if there is no other."""
        others = [other.median for other in self.results if other is not result and other.epoch_seconds]
        return min(others) / result.median if others else math.nan


def compare(
    workloads: Sequence[Workload],
    peers: Sequence[str],
    threads: int,
    rounds: int,
    report: Callable[[str], None] = lambda text: None,
) -> list[Comparison]:
    """Measure every workload with every peer on `threads` processors, or ON_DEVICE; `report` is told what is done."""
    with confined(threads):
        team = {peer: Process(peer, threads) for peer in (LIMIT, *peers)}
    limit = team.pop(LIMIT)
    try:
        return [_compare_one(workload, threads, team, limit, rounds, report) for workload in workloads]
    finally:
        for process in (limit, *team.values()):
            process.end()


def _compare_one(workload, threads, team, limit, rounds, report) -> Comparison:
    results = {peer: Result(peer) for peer in team}
    for peer, process in team.items():
        report(f"{workload.name}: {peer} prepares")
        _ask(results[peer], process, "prepare", workload)
    limits = []
    for number in range(rounds):
        report(f"{workload.name}: round {number + 1} of {rounds}")
        limits.append(limit.ask("limit", workload.dtype))
        for peer, process in team.items():
            _ask(results[peer], process, "turn")
    for peer, process in team.items():
        _ask(results[peer], process, "forget")
    return Comparison(workload, threads, max(limits), list(results.values()))


def _ask(result: Result, process: Process, request: str, *arguments) -> None:
    """Let a peer do something and note what came of it; a peer that failed is not asked again."""
    if result.reason is not None:
        return
    try:
        answer = process.ask(request, *arguments)
    except PeerError as error:
        result.reason, result.epoch_seconds = str(error), []
        return
    if request == "prepare":
        result.start_seconds, result.reason = answer
    elif request == "turn":
        result.epoch_seconds.append(answer)


class PeerError(Exception):
    """A peer failed; the text says how."""


class Process:
    """A peer's process, from the outside."""

    def __init__(self, peer: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, peer, threads), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, request: str, *arguments):
        """Have something done and wait for the answer."""
        try:
            self.connection.send((request, *arguments))
            done, answer = self.connection.recv()
        except (EOFError, OSError) as error:
            self.process.join(5)
            raise PeerError(f"its process ended with exit code {self.process.exitcode}") from error
        if not done:
            raise PeerError(answer)
        return answer

    def end(self) -> None:
        self.connection.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.terminate()


def serve(connection: Connection, peer: str, threads: int) -> None:
    """A peer's process, from the inside: answer requests until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    worker = Worker(peer, threads)
    while True:
        try:
            request, *arguments = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = True, getattr(worker, request)(*arguments)
        except Exception as error:  # whatever a library raises is that peer's result, not the end of the others
            traceback.print_exc()
            answer = False, f"{type(error).__name__}: {error}".splitlines()[0]
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more: the next recv says so
            connection.send(answer)


class Worker:
    """Each method answers a request."""

    def __init__(self, peer: str, threads: int) -> None:
        self.peer, self.threads = peer, threads
        self.trainer: Any = None  # a PeerTrainer once prepared
        self.count = 1  # epochs in a turn

    def prepare(self, workload: Workload) -> tuple[float, str | None]:
        """Build and warm up. Returns the seconds that this took beyond an epoch, and why it could not be, if so."""
        peers = PEERS_ON_DEVICE if self.threads == ON_DEVICE else PEERS
        module = importlib.import_module(peers[self.peer])
        if (reason := module.available()) is not None:
            return math.nan, reason
        X, y = workload.data()
        start = time.perf_counter()
        self.trainer = module.Trainer(workload, X, y, self.threads)
        self.trainer.epoch()
        first = time.perf_counter() - start
        epoch = self._fill_turn()
        return max(0.0, first - epoch), None

    def _fill_turn(self) -> float:
        """Choose the number of epochs in a turn; seconds of an epoch. These epochs warm up too."""
        self.count = 1
        epoch = min(self.turn() for _ in range(2))
        self.count = max(1, min(LEAST_EPOCHS, int(LONG_TURN / epoch)))
        while self.count * epoch < SHORTEST_TURN:
            self.count = math.ceil(SHORTEST_TURN / epoch)
            epoch = min(epoch, self.turn())
        return epoch

    def turn(self) -> float:
        """Seconds of an epoch, averaged over those of a turn."""
        time.sleep(PAUSE)
        start = time.perf_counter()
        self.trainer.epochs(self.count)
        return (time.perf_counter() - start) / self.count

    def forget(self) -> None:
        self.trainer = None

    def limit(self, dtype: str) -> float:
        from fastnn.bench.limit import fma_limit

        return fma_limit(dtype, self.threads)

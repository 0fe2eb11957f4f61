"""Between the objects of the API and the kernels: lays everything out and enters the compiled functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import custom, inputs, losses, noise, norms
from fastnn.activations import Activation
from fastnn.augment import Augmentation, Plan
from fastnn.errors import FunctionError
from fastnn.losses import Loss
from fastnn.targets import Targets
from fastnn_kernels import augment as augment_kernels
from fastnn_kernels import epoch, finite, jit, layout, machine, optimizer, team, work
from fastnn_kernels import observe as observing
from fastnn_kernels.noise import SAMPLE_CONNECT
from fastnn_kernels.work import Arrays

if TYPE_CHECKING:
    from fastnn.network import MLP

FUNCTIONS = [layout.FUNCTION, layout.DERIVATIVE]  # addresses of custom activations in the table
EVALUATION_BLOCK = 64  # rows that a thread takes at a time to evaluate or predict; sums do not depend on threads
PASS_ROWS = 1024  # rows that go through the network at once in training; longer batches go in parts, see pass_rows
PARTS = 16  # of a batch that is divided for the workers, see division
PART_ROWS = 128  # rows of a pass through a part: activations that a core's cache holds
PART_BYTES = 1 << 19  # parameters up to which a core's cache holds them and a gradient beside the activations
FLOPS_PER_THREAD = 1.5e6  # a step's work below which one more thread costs more at the barriers than it brings
ROWS_PER_THREAD = 32  # of a small network: with fewer, fetching the weights that another core wrote costs more
CACHED_BYTES = 2 << 20  # parameters up to which a network is small: the caches of the cores hold it


@dataclass(frozen=True)
class Session:
    """Everything that one call of a compiled function needs. arrays hold the memory that the kernels write.

    loss, activations: whose functions they may call. inner: the arrays of a small network, see subnetwork.py, whose
    addresses lie in arrays.
    """

    arrays: Arrays
    threads: int
    loss: Loss
    activations: Sequence[Activation]
    inner: Arrays | None = None

    @property
    def words(self) -> np.ndarray:
        return self.arrays.words

    def run(self, team_: team.Team, function: Callable, *args: Any, poll: Callable[[], None] | None = None) -> None:
        """Enter the compiled function on every thread of the team. `failure` is to be asked afterwards."""
        team_.run(function, self.words, self.arrays.params, self.arrays.addresses(), *args, poll=poll)

    def failure(self, where: str = "") -> FunctionError | None:
        """What is to be raised where a function of the user has raised an exception; where: the end of the message."""
        if not self.words[team.FAILURES]:
            return None
        return custom.failure(self.loss, self.activations, self.words, self.arrays.params.dtype, where)


def open_session(
    net: MLP,
    X: np.ndarray,
    targets: Targets | None,
    loss: Loss,
    samples: np.ndarray,
    rows: int,
    threads: int,
    constants: np.ndarray | None = None,
    optimizer_code: int = optimizer.NONE,
    state: np.ndarray | None = None,
    gradient: np.ndarray | None = None,
    kept: tuple[np.ndarray, np.ndarray] | None = None,
    shuffle: bool = False,
    stochastic: bool = False,
    weights: np.ndarray | None = None,
    noisy: bool = False,
    predicts: bool = False,
    augment: Augmentation | None = None,
    parts: int = 0,
) -> Session:
    """Lay out a session over the given samples of X, work.ROW, `rows` rows at a time.

    kept: two copies of the parameters and of the running averages, for the epochs to write, see last_good.py.
    noisy: whether the layers' noise is on. predicts: whether batch normalization takes its running averages, folded
    into a copy of the parameters.
    """
    dtype, empty = net.dtype, np.zeros(0, net.dtype)
    codes, noise_constants = noise.table([layer.any_noise if noisy else None for layer in net.layers])
    disturbed = [code > SAMPLE_CONNECT for code in codes]
    space = layout.workspace(net.layout, rows, 1 if parts else threads, stochastic, disturbed, backwards=not predicts)
    space.table[1:, layout.NOISE] = codes
    space.table[1:, FUNCTIONS] = [layer.function.addresses(dtype) for layer in net.layers]
    params = net.params
    kept_params, kept_running = (empty, empty) if kept is None else kept
    if predicts and norms.has_batch_norm(net):
        params = layout.zeros(net.layout.count, dtype)
        norms.fold(net, params)
        space.table[space.table[:, layout.NORM] == layout.BATCH_NORM, layout.NORM] = layout.NO_NORM
    normalization = net.normalization
    augmentation = Plan.none(dtype) if augment is None else augment.plan(net.n_in, dtype, space.rows // machine.UNIT)
    numbers = _numbers(net, space, targets, loss, len(samples))
    numbers[work.PASS_ROWS], numbers[work.PARTS], numbers[work.SPACE_SIZE] = rows, parts, space.count
    numbers[work.OPTIMIZER], numbers[work.STOCHASTIC] = optimizer_code, stochastic
    numbers[work.SHUFFLED], numbers[work.WEIGHTED] = shuffle, weights is not None
    arrays = Arrays(
        table=np.ascontiguousarray(space.table),
        numbers=numbers,
        betas=np.array([0.0, *(layer.function.constant for layer in net.layers)]),
        constants=np.zeros(optimizer.CONSTANTS) if constants is None else constants,
        params=params,
        state=empty if state is None else state,
        gradient=empty if gradient is None else gradient,
        kept=kept_params,
        space=layout.zeros(space.count * (threads if parts else 1), dtype),
        X=X,
        shift=empty if normalization is None else normalization.shift.astype(dtype),
        scale=empty if normalization is None else normalization.scale.astype(dtype),
        labels=np.zeros(0, np.int32) if targets is None or targets.labels is None else targets.labels,
        targets=empty if targets is None or targets.dense is None else targets.dense,
        samples=samples,
        order=samples.copy() if shuffle else samples,
        indices=np.zeros(net.n_in if stochastic else 0, np.int64),
        words=team.new_words(),
        loss_constants=loss.constants(),
        weights=empty if weights is None else weights,
        norms=norms.table(net),
        running=net.running,
        kept_running=kept_running,
        noise=noise_constants,
        inner=np.zeros(0, np.int64),
        outer=np.zeros(0, np.int64),
        units=np.zeros(0, np.int64),
        augment=augmentation.constants,
        basis=augmentation.basis,
        room=augmentation.room,
    )
    return Session(arrays, threads, loss, [layer.function for layer in net.layers])


def _numbers(net: MLP, space: layout.Workspace, targets: Targets | None, loss: Loss, samples: int) -> np.ndarray:
    numbers = np.zeros(work.NUMBERS, np.int64)
    numbers[work.LAYERS] = len(net.layers)
    numbers[work.LOSS], numbers[work.CUSTOM_LOSS] = loss.code, loss.address(net.dtype)
    set_places(numbers, space, net.layout.count)
    numbers[work.COLUMNS_IN] = net.n_in
    numbers[work.NORMALIZED] = net.normalization is not None
    numbers[work.SAMPLES] = samples
    numbers[work.SEED] = net.seed
    numbers[work.RUNNING_SIZE] = net.layout.running
    if targets is not None:
        numbers[work.TARGET], numbers[work.ACCURACY] = targets.kind, targets.accuracy
    return numbers


def set_places(numbers: np.ndarray, space: layout.Workspace, parameters: int) -> None:
    """Write what follows from a workspace and the number of parameters."""
    numbers[work.ROWS] = space.rows
    numbers[work.LOSSES] = space.losses
    numbers[work.SCRATCH], numbers[work.SCRATCH_SIZE] = space.scratch, space.scratch_size
    numbers[work.BLOCK] = space.block
    numbers[work.PARAMETERS] = parameters


def flops_per_sample(net: MLP) -> float:
    """Floating point operations of training on one sample: three products a layer, two for the first."""
    sizes = net.layout.sizes
    return 6.0 * sum(a * b for a, b in pairwise(sizes)) - 2.0 * sizes[0] * sizes[1]


def choose_threads(net: MLP, batch: int, asked: int | None) -> int:
    """How many threads share a step: as asked, else as many as its work is worth and the process may use."""
    if asked is not None:
        return asked
    by_work = int(flops_per_sample(net) * batch / FLOPS_PER_THREAD)
    is_cached = net.layout.count * net.dtype.itemsize <= CACHED_BYTES
    by_rows = batch // ROWS_PER_THREAD if is_cached else -(-batch // machine.UNIT)
    return max(1, min(machine.processors(), by_work, by_rows))


def division(net: MLP, batch: int, augment: Augmentation | None = None) -> tuple[int, int]:
    """(parts of a batch that workers take alone, rows that go through at once); parts is 0 where they work together.

    They take parts, see parts.py, where these have rows enough, gradients stay near, and nothing else is shared.
    """
    is_small = net.layout.count * net.dtype.itemsize <= PART_BYTES
    is_plain = augment is None and not (net.has_noise or norms.has_norm(net))
    if is_small and is_plain and batch >= 2 * PARTS * PART_ROWS:
        return PARTS, PART_ROWS
    return 0, pass_rows(net, batch)


def pass_rows(net: MLP, batch: int) -> int:
    """How many rows of a batch go through the network at once: all where batch normalization needs them."""
    return batch if norms.has_batch_norm(net) else min(batch, PASS_ROWS)


def _blocks(samples: int, threads: int) -> tuple[int, int]:
    blocks = -(-samples // EVALUATION_BLOCK)
    return blocks, min(threads, blocks)


class Evaluation:
    """Mean loss and accuracy over some samples, as often as asked."""

    def __init__(
        self,
        net: MLP,
        X: np.ndarray,
        targets: Targets,
        loss: Loss,
        samples: np.ndarray,
        threads: int,
        weights: np.ndarray | None,
    ) -> None:
        self._net, self._targets, self._count, self._n_out = net, targets, len(samples), net.n_out
        blocks, threads = _blocks(len(samples), threads)
        self._losses, self._hits = np.zeros(blocks), np.zeros(blocks, np.int64)
        rows = threads * EVALUATION_BLOCK
        self.session = open_session(net, X, targets, loss, samples, rows, threads, weights=weights, predicts=True)

    def measure(self, workers: team.Team | None = None) -> tuple[float, float | None]:
        """Mean loss, and the share of hits, None where nothing counts as one. workers: a team that is free."""
        if norms.has_batch_norm(self._net):
            norms.fold(self._net, self.session.arrays.params)
        enter(self.session, epoch.evaluate, EVALUATION_BLOCK, self._losses, self._hits, workers=workers)
        hits = share_of_hits(int(self._hits.sum()), self._count, self._targets, self._n_out)
        return float(self._losses.sum() / self._count), hits


def share_of_hits(hits: int, samples: int, targets: Targets, n_out: int) -> float | None:
    """Hits as a share of the answers given."""
    if targets.accuracy == work.NOTHING:
        return None
    return hits / (samples * (n_out if targets.accuracy == work.BINARY else 1))


def predict(net: MLP, X: np.ndarray, loss: Loss, threads: int) -> np.ndarray:
    """Outputs of the last activation, (samples, n_out)."""
    out = np.empty((len(X), net.n_out), net.dtype)
    _, threads = _blocks(len(X), threads)
    rows = threads * EVALUATION_BLOCK
    session = open_session(net, X, None, loss, inputs.rows(X), rows, threads, predicts=True)
    enter(session, epoch.predict, EVALUATION_BLOCK, out)
    return out


def gradient(
    net: MLP,
    X: np.ndarray,
    targets: Targets,
    loss: Loss,
    threads: int,
    weights: np.ndarray | None = None,
    index: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of the mean loss over all of X, or those that index names, as a flat vector like the parameters."""
    out = layout.zeros(net.layout.count, net.dtype)
    samples = inputs.rows(X) if index is None else index
    rows = pass_rows(net, len(samples))
    session = open_session(net, X, targets, loss, samples, rows, threads, gradient=out, weights=weights)
    enter(session, epoch.gradient)
    return out


def observe(net: MLP, X: np.ndarray, index: np.ndarray, layer: int, activated: bool) -> np.ndarray:
    """Outputs of a layer, or what goes into its activation, for the rows of X that index names: (rows, n)."""
    out = np.empty((len(index), net.sizes[layer]), net.dtype)
    session = open_session(
        net, X, None, losses.natural(net.layers[-1].function), index, EVALUATION_BLOCK, 1, predicts=True
    )
    enter(session, observing.observe, layer, activated, out)
    return out


def enter(session: Session, function: Callable, *args: Any, workers: team.Team | None = None) -> None:
    """Run a compiled function once: here and now where one thread does it, else on a team, the given or a new one.

    Raises FunctionError where a function of the user's own has raised an exception.
    """
    if session.threads == 1:
        function(0, 1, session.arrays.params, session.arrays.addresses(), *args)
    elif workers is not None and workers.size == session.threads:
        session.run(workers, function, *args)
    else:
        with team.Team(session.threads) as own:
            session.run(own, function, *args)
    if (failure := session.failure()) is not None:
        raise failure


def entries(dtype: np.dtype) -> dict[Callable, tuple]:
    """All compiled functions, with arguments of the types that they are called with."""
    head = (0, 1, np.zeros(0, dtype), np.zeros(0, np.int64))
    return {
        epoch.train: (*head, 1, 1, 0, 0, np.zeros((1, 2))),
        epoch.evaluate: (*head, EVALUATION_BLOCK, np.zeros(1), np.zeros(1, np.int64)),
        epoch.predict: (*head, EVALUATION_BLOCK, np.zeros((1, 1), dtype)),
        epoch.gradient: head,
        observing.observe: (*head, 1, True, np.zeros((1, 1), dtype)),
        augment_kernels.apply: (
            np.zeros(1),
            *[np.zeros(0, dtype)] * 2,
            np.zeros((1, 1), dtype),
            0,
            0,
            np.zeros((1, 1), dtype),
        ),
        finite.first_block_not_finite: (np.zeros(0, dtype), 0, 0),
    }


def prepare(dtype: np.dtype, functions: Iterable[Callable], report: Callable[[str], None]) -> None:
    """Compile functions for a dtype, or read them from the cache, before they are needed.

    Tells `report` what takes seconds.
    """
    known = entries(dtype)
    for function in functions:
        jit.ensure_compiled(function, known[function], f"for {dtype}", report)


def warm_up(report: Callable[[str], None]) -> None:
    """Compile everything, for both dtypes, and keep it in the cache."""
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        prepare(dtype, entries(dtype), report)

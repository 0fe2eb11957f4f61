"""Between the objects of the API and the processor's kernels: lays everything out and enters the compiled functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import custom, description, division, norms
from fastnn.activations import Activation
from fastnn.augment import Plan
from fastnn.errors import FunctionError
from fastnn.job import Part, Settings
from fastnn.last_good import LastGood
from fastnn.losses import Loss
from fastnn_kernels import augment as augment_kernels
from fastnn_kernels import epoch, finite, jit, layout, machine, optimizer, sparse_blocks, team, update, work
from fastnn_kernels import observe as observing
from fastnn_kernels.work import Arrays

if TYPE_CHECKING:
    from fastnn.network import MLP

LONG = 1 << 26  # multiply-adds of a feed, some milliseconds: beside them starting a thread takes no time
EVALUATION_BLOCK = 64  # rows that a thread takes at a time to evaluate or predict; sums do not depend on threads


@dataclass(frozen=True)
class Session:
    """Everything that one call of a compiled function needs. arrays hold the memory that the kernels write.

    extras: as description.extras says. loss, activations: whose functions they may call. inner: the arrays of a small
    network, see subnetwork.py, whose addresses lie in arrays.
    """

    arrays: Arrays
    extras: bool | None
    threads: int
    loss: Loss
    activations: Sequence[Activation]
    inner: Arrays | None = None

    @property
    def words(self) -> np.ndarray:
        return self.arrays.words

    @property
    def is_long(self) -> bool:
        """Whether a feed of all samples takes so long that somebody may want to stop it."""
        return len(self.arrays.samples) * len(self.arrays.params) > LONG

    def head(self) -> tuple[Any, ...]:
        """What every compiled function is told after rank and size."""
        return self.arrays.params, self.arrays.addresses(), self.extras

    def run(self, team_: team.Team, function: Callable, *args: Any, poll: Callable[[], None] | None = None) -> None:
        """Enter the compiled function on every thread of the team. `failure` is to be asked afterwards."""
        team_.run(function, self.words, *self.head(), *args, poll=poll)

    def failure(self, where: str = "") -> FunctionError | None:
        """What is to be raised where a function of the user has raised an exception; where: the end of the message."""
        if not self.words[team.FAILURES]:
            return None
        return custom.failure(self.loss, self.activations, self.words, self.arrays.params.dtype, where)


@dataclass(frozen=True)
class Learning:
    """What training needs beside a network and its data.

    constants, state: the optimizer's; last_good: keeps copies of what is learned.
    """

    settings: Settings
    constants: np.ndarray
    state: np.ndarray
    last_good: LastGood


def open_session(
    net: MLP,
    part: Part,
    loss: Loss,
    rows: int,
    threads: int,
    *,
    learning: Learning | None = None,
    gradient: np.ndarray | None = None,
    predicts: bool = False,
    parts: int = 0,
) -> Session:
    """Lay out a session over a part of X, `rows` rows at a time.

    gradient: where the gradient goes, if it is all that is asked for. predicts: whether batch normalization takes its
    running averages, folded into a copy of the parameters. parts: of a batch that workers take alone, see parts.py.
    """
    codes, noise_constants = description.noises(net, learning is not None)
    single = 0 if learning is None else division.single_samples(net, part, learning.settings)
    spaces, sharing = (threads, 1) if parts else (1, threads)
    if learning is None:
        matrix = [] if gradient is None else division.by_matrix(net, codes, rows, parts)
        space = layout.workspace(
            net.layout, rows, sharing, backwards=not predicts, by_matrix=matrix, packed=layout.PACKED_BYTES
        )
    else:
        little = division.little(part.X.size, len(net.params), len(learning.state))
        most_inputs = little if learning.settings.augment is None else 0.0  # each copy would be augmented
        space = division.workspace(net, codes, rows, sharing, single, most_inputs, int(little / threads), parts)
    space.table[1:, layout.NOISE] = codes
    functions = [layer.function.addresses(net.dtype) for layer in net.layers]
    space.table[1:, layout.FUNCTION], space.table[1:, layout.DERIVATIVE] = zip(*functions, strict=True)
    numbers = description.numbers(net, part, loss)
    numbers[work.PASS_ROWS], numbers[work.PARTS] = rows, parts
    numbers[work.STOCHASTIC] = single
    numbers[work.RUNNING_SIZE] = net.layout.running
    set_places(numbers, space, net.layout.count)
    empty, augmentation = np.zeros(0, net.dtype), Plan.none(net.dtype)
    samples = np.ascontiguousarray(part.index, work.ROW)
    arrays = Arrays(
        table=np.ascontiguousarray(space.table),
        numbers=numbers,
        constants=np.zeros(optimizer.CONSTANTS),
        params=_folded(net, space.table) if predicts and norms.has_batch_norm(net) else net.params,
        state=empty,
        gradient=empty if gradient is None else gradient,
        kept=empty,
        space=layout.zeros(spaces * space.count, net.dtype),
        samples=samples,
        order=samples.copy() if learning is not None and learning.settings.shuffle else samples,
        indices=layout.zeros(_indices(net, threads, single), np.dtype(np.int32)),
        words=team.new_words(threads),
        running=net.running,
        kept_running=empty,
        noise=noise_constants,
        inner=np.zeros(0, np.int64),
        outer=np.zeros(0, np.int64),
        units=np.zeros(0, np.int64),
        augment=augmentation.constants,
        basis=augmentation.basis,
        room=augmentation.room,
        alone=np.zeros(0, np.int64),
        **description.fields(net, part, loss),
    )
    arrays = arrays if learning is None else _learning(net, arrays, learning)
    arrays = arrays.alone_with(spaces, space.count, parts) if parts else arrays
    extras = description.extras(net, None if learning is None else learning.settings.augment)
    return Session(arrays, extras, threads, loss, [layer.function for layer in net.layers])


def _indices(net: MLP, threads: int, single: int) -> int:
    return sparse_blocks.indices(net.n_in, threads) if single == work.SPARSE_BLOCKS else 0


def _folded(net: MLP, table: np.ndarray) -> np.ndarray:
    """A copy of the parameters that needs no batch normalization; the table forgets it."""
    params = layout.zeros(net.layout.count, net.dtype)
    norms.fold(net, params)
    table[table[:, layout.NORM] == layout.BATCH_NORM, layout.NORM] = layout.NO_NORM
    return params


def _learning(net: MLP, arrays: Arrays, learning: Learning) -> Arrays:
    """The arrays with what training adds."""
    settings, numbers, constants = learning.settings, arrays.numbers, learning.constants
    numbers[work.OPTIMIZER], numbers[work.SHUFFLED] = settings.optimizer.code, settings.shuffle
    learning.last_good.share(numbers)
    parts, clips = int(numbers[work.PARTS]), constants[optimizer.CLIP_NORM] > 0.0
    gradients = division.gradients(settings.batch, parts, int(numbers[work.PASS_ROWS]), clips)
    if parts or clips:
        constants = np.concatenate([constants, np.zeros(update.chunks(len(net.params)) + parts)])
    kept, kept_running = learning.last_good.for_kernels or (arrays.kept, arrays.kept_running)
    augmentation = Plan.none(net.dtype)
    if settings.augment is not None:
        augmentation = settings.augment.plan(net.n_in, net.dtype, int(numbers[work.ROWS]) // machine.UNIT)
    return arrays._replace(
        constants=constants,
        state=learning.state,
        gradient=layout.zeros(gradients * len(net.params), net.dtype),
        kept=kept,
        kept_running=kept_running,
        augment=augmentation.constants,
        basis=augmentation.basis,
        room=augmentation.room,
    )


def set_places(numbers: np.ndarray, space: layout.Workspace, parameters: int) -> None:
    """Write what follows from a workspace and the number of parameters."""
    numbers[work.ROWS] = space.rows
    numbers[work.LOSSES] = space.losses
    numbers[work.SCRATCH], numbers[work.SCRATCH_SIZE] = space.scratch, space.scratch_size
    numbers[work.BLOCK], numbers[work.INPUTS], numbers[work.MEETS] = space.block, space.inputs, space.meets
    numbers[work.PARAMETERS] = parameters


def enter(session: Session, function: Callable, *args: Any, workers: team.Team | None = None) -> None:
    """Run a compiled function once: here and now where one thread soon does it, else on a team, the given or a new one.

    A team is left at once when Ctrl-C is pressed. Raises FunctionError where a function of the user's own has raised an
    exception.
    """
    if session.threads == 1 and not session.is_long:
        function(0, 1, *session.head(), *args)
    elif workers is not None and workers.size == session.threads:
        session.run(workers, function, *args)
    else:
        with team.Team(session.threads) as own:
            session.run(own, function, *args)
    if (failure := session.failure()) is not None:
        raise failure


def entries(dtype: np.dtype, extras: bool | None) -> dict[Callable, tuple]:
    """All compiled functions, with arguments of the types that they are called with."""
    head = (0, 1, np.zeros(0, dtype), np.zeros(0, np.int64), extras)
    return {
        epoch.train: (*head, 1, 1, 0, 0, np.zeros((1, 2))),
        epoch.train_singly: (*head, 1, 1, 0, 0, np.zeros((1, 2))),
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
        epoch.new_order: (np.zeros(0, work.ROW), True, 0, 0, np.zeros(0, work.ROW)),
    }


def prepare(dtype: np.dtype, extras: bool | None, functions: Iterable[Callable], report: Callable[[str], None]) -> None:
    """Compile functions for a dtype, or read them from the cache, before they are needed. extras: as of a Session.

    Tells `report` what takes seconds.
    """
    known = entries(dtype, extras)
    purpose = f"for {dtype} with normalization, noise and the like" if extras else f"for {dtype}"
    for function in functions:
        jit.ensure_compiled(function, known[function], purpose, report)


def warm_up(report: Callable[[str], None]) -> None:
    """Compile everything, for both dtypes, and keep it in the cache."""
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        for extras in (None, True):
            prepare(dtype, extras, entries(dtype, extras), report)

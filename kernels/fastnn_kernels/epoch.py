"""What Python calls: epochs of training, evaluation and prediction, each entered by every thread of a team.

Meanwhile denormal numbers count as 0 on its threads: see native/denormals.py.
"""

from fastnn_kernels import dense_blocks, norm, output, parts, penalty, sparse_blocks, stochastic, subnetwork
from fastnn_kernels.claim import next_of
from fastnn_kernels.jit import entry, kernel
from fastnn_kernels.layout import ACTIVATION, N_OUT, STRIDE, WIDTH, A
from fastnn_kernels.native import (
    address,
    fill,
    flush_denormals,
    lanes,
    load,
    restore_denormals,
    store,
    sum_lanes,
)
from fastnn_kernels.native.atomic import fetch_add, load_acquire, store_release
from fastnn_kernels.noise import NEVER, PER_BATCH, PER_EPOCH
from fastnn_kernels.optimizer import PENALTY_L1, PENALTY_L2
from fastnn_kernels.passes import Now, feed_all
from fastnn_kernels.rng import shuffle
from fastnn_kernels.step import step
from fastnn_kernels.team import (
    CLIPPED,
    CLIPPED_STEPS,
    DIVERGED,
    END,
    EPOCH,
    FLAG,
    GOES_ON,
    HITS,
    PROGRESS,
    STOPPED,
    is_asked_to_stop,
    meet,
    raise_flag,
)
from fastnn_kernels.work import (
    KEEP_AFTER,
    KEPT,
    KEPT_AT,
    LAYERS,
    LOSSES,
    PARAMETERS,
    PARTS,
    SAMPLES,
    SEED,
    SHUFFLED,
    SPARSE_BLOCKS,
    STOCHASTIC,
    SUBNETWORK,
    at,
    open_other,
    open_work,
    share,
)


@kernel
def _put_in_order(samples, count, is_shuffled, seed, epoch, order):
    for i in range(count):
        order[i] = samples[i]
    if is_shuffled:
        shuffle(order, count, seed, epoch)


@entry
def new_order(samples, is_shuffled, seed, epoch, order):
    """The order of an epoch, before which there were `epoch` others: samples, order: ROW (count,)."""
    _put_in_order(address(samples, 0), samples.size, is_shuffled, seed, epoch, address(order, 0))


@kernel
def _new_order(work, count, epoch):
    _put_in_order(work.samples, count, work.numbers[SHUFFLED] != 0, work.numbers[SEED], epoch, work.order)


@kernel
def _check_share(work, rank, size):
    """Raise the flag if this worker's share of the parameters is not finite."""
    n = lanes(work.params)
    first, last = share(work.numbers[PARAMETERS] // n, rank, size)
    check = fill(work.params, 0.0)
    for i in range(first * n, last * n, n):
        check = check + load(work.params + i) * 0.0
    if sum_lanes(check) != 0.0 or (rank == 0 and not norm.is_finite(work)):
        raise_flag(work.words)


@kernel
def _keep_share(work, rank, size, half):
    """This worker's share of copying the parameters to a half of where they are kept."""
    n, kept = lanes(work.params), work.kept + half * work.numbers[PARAMETERS]
    first, last = share(work.numbers[PARAMETERS] // n, rank, size)
    for i in range(first * n, last * n, n):
        store(kept + i, load(work.params + i))
    if rank == 0:
        norm.keep(work, half)


@kernel
def _epoch(work, small, rank, size, count, batch, t, epoch):
    """All steps of one epoch; returns the state of the run, the step reached and rank 0's sum of losses.

    small: the network that takes the steps, see subnetwork.py; without one it is the whole.
    """
    loss, hits, start, per = 0.0, 0, 0, work.numbers[SUBNETWORK]
    if per == PER_EPOCH and not subnetwork.take(work, small, rank, size, t + 1, epoch):
        return STOPPED, t, loss
    while start < count:
        here = min(batch, count - start)
        if per == PER_BATCH and not subnetwork.take(work, small, rank, size, t + 1, epoch):
            return STOPPED, t, loss
        if work.numbers[PARTS]:
            state, batch_loss, batch_hits = parts.step(work, rank, size, start, here, t + 1)
        else:
            state, batch_loss, batch_hits = step(small, rank, size, start, here, t + 1)
        if state != GOES_ON:
            if per == PER_EPOCH:
                subnetwork.give_back(work, small, rank, size)
            return state, t, loss
        t += 1
        loss += batch_loss
        hits += batch_hits
        start += here
        if rank == 0:
            work.words[PROGRESS] += 1
            work.words[CLIPPED_STEPS] += work.words[CLIPPED]
            work.words[CLIPPED] = 0
    if per == PER_EPOCH and not subnetwork.give_back(work, small, rank, size):
        return STOPPED, t, loss
    fetch_add(work.words + HITS, hits)
    _check_share(work, rank, size)
    if not meet(work.words, size):
        return STOPPED, t, loss
    return DIVERGED if load_acquire(work.words + FLAG) else GOES_ON, t, loss


@kernel
def _single_epoch(work, small, rank, size, count, batch, t, epoch):
    """_epoch in steps of one sample, in which all units take part."""
    if work.numbers[STOCHASTIC] == SPARSE_BLOCKS:
        state, t, loss, hits = sparse_blocks.epoch(work, rank, size, count, t)
    else:
        state, t, loss, hits = dense_blocks.epoch(work, rank, size, count, t)
    if not meet(work.words, size):
        return STOPPED, t, loss
    fetch_add(work.words + HITS, hits)
    _check_share(work, rank, size)
    if not meet(work.words, size):
        return STOPPED, t, loss
    return DIVERGED if load_acquire(work.words + FLAG) else state, t, loss


@kernel
def _write_history(work, history, e, loss):
    l1, l2 = work.constants[PENALTY_L1], work.constants[PENALTY_L2]
    history[e, 0] = loss
    history[e, 1] = work.words[HITS]
    work.words[HITS] = 0
    history[e, 2] = work.words[CLIPPED_STEPS]
    work.words[CLIPPED_STEPS] = 0
    history[e, 3] = penalty.share_of_zeros(work) if l1 > 0.0 else 0.0
    history[e, 4] = penalty.cost(work, l1, l2) if l1 + l2 > 0.0 else 0.0


def _epochs(one_epoch):
    @kernel
    def run(work, small, rank, size, batch, epochs, epoch, t, history):
        """`train` by epochs of one kind."""
        count = work.numbers[SAMPLES]
        keep_after, kept_at, kept = work.numbers[KEEP_AFTER], work.numbers[KEPT_AT], work.numbers[KEPT]
        for e in range(epochs):
            if rank == 0:
                _new_order(work, count, epoch + e)
            if not meet(work.words, size):
                return
            state, t, loss = one_epoch(work, small, rank, size, count, batch, t, epoch + e)
            if state != GOES_ON:
                if rank == 0:
                    store_release(work.words + END, state)
                return
            if keep_after != 0 and t - kept_at >= keep_after:
                kept += 1
                kept_at = t
                _keep_share(work, rank, size, kept % 2)
                if rank == 0:
                    work.numbers[KEPT_AT], work.numbers[KEPT] = kept_at, kept  # the others read them as they entered
            if rank == 0:
                _write_history(work, history, e, loss / count)
                store_release(work.words + EPOCH, e + 1)

    return run


_epochs_of_batches, _epochs_of_samples = _epochs(_epoch), _epochs(_single_epoch)


@entry
def train(rank, size, params, addresses, extras, batch, epochs, epoch, t, history):
    """Train for `epochs` epochs; `epoch` of them and t steps were done before.

    addresses: of work.Arrays; params: one of them, for its dtype; extras: see work.open_work; history: float64
    (epochs, 5), becomes mean loss, hits, steps that clipped the gradient, with l1 the share of weights that are 0, and
    the penalty at the end, of each epoch. words[END] says how it ended, words[EPOCH] and words[PROGRESS] how far it
    came. With numbers[KEEP_AFTER], numbers[KEPT_AT] and numbers[KEPT] say what is in `kept`.
    """
    state = flush_denormals()
    work = open_work(params, addresses, extras)
    small = open_other(work, work.inner) if work.numbers[SUBNETWORK] != NEVER else work
    _epochs_of_batches(work, small, rank, size, batch, epochs, epoch, t, history)
    restore_denormals(state)


@entry
def train_singly(rank, size, params, addresses, extras, batch, epochs, epoch, t, history):
    """`train` in steps of one sample, see stochastic.py: compiled only where it is wanted."""
    state = flush_denormals()
    work = open_work(params, addresses, extras)
    if rank == 0:
        stochastic.transpose_all(work)
    _epochs_of_samples(work, work, rank, size, batch, epochs, epoch, t, history)
    restore_denormals(state)


@entry
def gradient(rank, size, params, addresses, extras):
    """The gradient of the mean loss over all samples, into `gradient`; the optimizer must be "none"."""
    state = flush_denormals()
    work = open_work(params, addresses, extras)
    count = work.numbers[SAMPLES]
    if rank == 0:
        _new_order(work, count, 0)
    if meet(work.words, size):
        step(work, rank, size, 0, count, 1)
    restore_denormals(state)


@entry
def evaluate(rank, size, params, addresses, extras, block, losses, hits):
    """Losses summed over each block of rows, and hits in it: float64 (blocks,), int64 (blocks,).

    `order` names the rows. Blocks do not depend on the number of threads, so their sums do not either.
    """
    state = flush_denormals()
    work = open_work(params, addresses, extras)
    first, done = rank * block, 0
    b = next_of(work.words, 0, size, done)
    while b < losses.size and not is_asked_to_stop(work.words):
        count = min(block, work.numbers[SAMPLES] - b * block)
        begin = b * block - first
        feed_all(work, first, first + count, Now(0, begin, False, count, rank, 1))
        hits[b], _ = output.losses(work, first, first + count, begin, 1.0)
        total = 0.0
        for row in range(first, first + count):
            total += work.space[work.numbers[LOSSES] + row]
        losses[b] = total
        done += 1
        b = next_of(work.words, 0, size, done)
    meet(work.words, size)
    restore_denormals(state)


@entry
def predict(rank, size, params, addresses, extras, block, out):
    """Outputs of the last activation for the rows that `order` names: out, float (rows, n_out)."""
    state = flush_denormals()
    work = open_work(params, addresses, extras)
    layer = work.numbers[LAYERS]
    n_out, width, stride = at(work, layer, N_OUT), at(work, layer, WIDTH), at(work, layer, STRIDE)
    act, beta = at(work, layer, ACTIVATION), work.betas[layer]
    first, done = rank * block, 0
    z = work.space + (at(work, layer, A) + first * stride)
    blocks = (work.numbers[SAMPLES] + block - 1) // block
    b = next_of(work.words, 0, size, done)
    while b < blocks and not is_asked_to_stop(work.words):
        count = min(block, work.numbers[SAMPLES] - b * block)
        feed_all(work, first, first + count, Now(0, b * block - first, False, count, rank, 1))
        output.activate(act, beta, z, stride, count, width, n_out)
        for row in range(count):
            for j in range(n_out):
                out[b * block + row, j] = z[row * stride + j]
        done += 1
        b = next_of(work.words, 0, size, done)
    meet(work.words, size)
    restore_denormals(state)

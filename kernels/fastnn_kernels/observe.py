"""What a layer makes of some samples, for those who want to look into a network."""

from fastnn_kernels import dense, output, rowwise
from fastnn_kernels.activation import LINEAR
from fastnn_kernels.jit import entry
from fastnn_kernels.layout import ACTIVATION, N_OUT, STRIDE, WIDTH, A
from fastnn_kernels.native import flush_denormals, restore_denormals
from fastnn_kernels.passes import Now, gather
from fastnn_kernels.team import is_asked_to_stop
from fastnn_kernels.work import LAYERS, ROWS, SAMPLES, at, below, open_work


@entry
def observe(rank, size, params, addresses, extras, layer, activated, out):
    """Outputs of a layer, or what goes into its activation, for the rows that `order` names: out, float (rows, n_out).

    One thread does it all.
    """
    state = flush_denormals()
    work = open_work(params, addresses, extras)
    n_out, width, stride = at(work, layer, N_OUT), at(work, layer, WIDTH), at(work, layer, STRIDE)
    act, is_last, before = at(work, layer, ACTIVATION), layer == work.numbers[LAYERS], LINEAR
    if activated:
        before = rowwise.before_output(act) if is_last else act
    z = work.space + at(work, layer, A)
    for begin in range(0, work.numbers[SAMPLES], work.numbers[ROWS]):
        if is_asked_to_stop(work.words):
            break
        count = min(work.numbers[ROWS], work.numbers[SAMPLES] - begin)
        now = Now(0, begin, False, count, 0, 1)
        gather(work, below(work, 1, 0), 0, count, now)
        for other in range(1, layer):
            dense.feed(work, other, 0, count, at(work, other, ACTIVATION), now)
        dense.feed(work, layer, 0, count, before, now)
        if activated and is_last:
            output.activate(act, work.betas[layer], z, stride, count, width, n_out)
        for row in range(count):
            for j in range(n_out):
                out[begin + row, j] = z[row * stride + j]
    restore_denormals(state)

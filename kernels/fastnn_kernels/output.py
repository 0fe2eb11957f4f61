"""The end of the feed: the output activation, the loss of every row, the delta of the last layer, hits counted.

Softmax with cross-entropy and sigmoid with binary cross-entropy are computed from the logits, where delta = yhat - y.
Every other pair applies the activation, takes the loss's derivative and multiplies by the activation's.
"""

import numpy as np

from fastnn_kernels import activation, loss, rowwise
from fastnn_kernels.elementary import log
from fastnn_kernels.jit import inline, kernel
from fastnn_kernels.layout import ACTIVATION, N_OUT, STRIDE, WIDTH, A, D, Z
from fastnn_kernels.loss import (
    BINARY_CROSS_ENTROPY,
    CONSTANT,
    CROSS_ENTROPY,
    CUSTOM,
    HALF_MSE,
    HUBER,
    MAE,
    MSE,
    POISSON,
    SMOOTHING,
)
from fastnn_kernels.native import (
    fill,
    first_lane,
    first_lanes,
    fma,
    lanes,
    load,
    lowest_one,
    mask_word,
    only_lane,
    select,
    store,
    sum_lanes,
)
from fastnn_kernels.work import (
    ACCURACY,
    BINARY,
    CLASSES,
    CUSTOM_LOSS,
    DENSE,
    LABELS,
    LAYERS,
    LOSS,
    LOSSES,
    NOTHING,
    ROWS,
    TARGET,
    WEIGHTED,
    at,
    sample_at,
)


@kernel
def activate(code, beta, z, stride, rows, width, n_out):
    """The output activation of a block of rows, in place; softmax included."""
    if code == activation.SOFTMAX:
        for _ in range(rows):
            loss.softmax(z, n_out)
            z = z + stride
    else:
        activation.feed(code, beta, z, stride, rows, width)


@kernel
def _weight(work, sample):
    """The factor on a sample's loss."""
    return np.float64(work.weights[sample]) if work.numbers[WEIGHTED] else 1.0


@kernel
def _target_row(work, sample, d, n_out, width):
    """Write the targets of a sample into the row d; one-hot where labels were given."""
    for j in range(0, width, lanes(d)):
        store(d + j, fill(d, 0.0))
    if work.numbers[TARGET] == LABELS:
        d[work.labels[sample]] = 1.0
    else:
        y = work.targets + sample * n_out
        for j in range(n_out):
            d[j] = y[j]


@kernel
def _argmax(row, n):
    """The number of the first of the largest of n elements; 0 where there is NaN."""
    top = loss.highest(row, n)
    for j in range(0, n, lanes(row)):
        found = mask_word(load(row + j) == top)
        if found != 0:
            return j + lowest_one(found)
    return 0


@kernel
def _class_of(work, sample, y, n_out):
    """The class of a sample: its label, or the largest of its targets y."""
    if work.numbers[TARGET] == LABELS:
        return np.int64(work.labels[sample])
    return _argmax(y, n_out)


@kernel
def _hits(work, sample, border, yhat, y, n_out):
    """How many of a row's answers are right: the class (0 or 1), or each of n_out yes-or-no outputs."""
    hits = np.int64(0)
    if work.numbers[ACCURACY] == CLASSES:
        hits += _argmax(yhat, n_out) == _class_of(work, sample, y, n_out)
    elif work.numbers[ACCURACY] == BINARY:
        for j in range(n_out):
            hits += (yhat[j] > border) == (y[j] > 0.5)
    return hits


@kernel
def _softmax_delta(d, a, n_out):
    """d -> a * (d - sum d a): through softmax's Jacobian, in place."""
    dot = fill(d, 0.0)
    for j in range(0, n_out, lanes(d)):
        dot = fma(load(d + j), select(first_lanes(d, n_out - j), load(a + j), 0.0), dot)
    total = sum_lanes(dot)
    for j in range(0, n_out, lanes(d)):
        keep = first_lanes(d, n_out - j)
        store(d + j, select(keep, load(a + j) * (load(d + j) - total), 0.0))


@kernel
def _general_loss(work, code, yhat, d, n_out, scale):
    if code == MAE:
        return loss.absolute_error(yhat, d, n_out, scale)
    if code == HUBER:
        return loss.huber(yhat, d, n_out, work.loss_constants[CONSTANT], scale)
    if code == CUSTOM:
        return loss.custom(work.words, work.numbers[CUSTOM_LOSS], yhat, d, n_out, scale)
    factor = 0.5 if code == HALF_MSE else 1.0
    return loss.squared(yhat, d, n_out, factor, scale)


@kernel
def _row_loss(work, code, act, beta, z, kept, d, stride, n_out, width, scale):
    """Loss of one row, its delta written over the targets in d; kept: what the derivative is computed from."""
    if code == CROSS_ENTROPY:
        return loss.cross_entropy(z, d, n_out, scale)
    if code == BINARY_CROSS_ENTROPY:
        return loss.binary_cross_entropy(z, d, n_out, scale)
    if code == POISSON:
        return loss.poisson(z, d, n_out, scale)
    value = _general_loss(work, code, z, d, n_out, scale)
    if act == activation.SOFTMAX:
        _softmax_delta(d, z, n_out)
    else:
        activation.delta(act, beta, d, kept, stride, 1, width)
    return value


@kernel
def _delta_of_label(work, row, position, scale):
    """`losses` for one row of the commonest case: softmax, cross-entropy, labels.

    In place of the loss it leaves what `complete` makes it from, which takes the logarithms of many rows at once.
    """
    layer, values = work.numbers[LAYERS], work.space + work.numbers[LOSSES]
    n_out, stride = at(work, layer, N_OUT), at(work, layer, STRIDE)
    z, d = work.space + (at(work, layer, A) + row * stride), work.space + (at(work, layer, D) + row * stride)
    sample = sample_at(work, position)
    label, weight = np.int64(work.labels[sample]), _weight(work, sample)
    hit, distance, whole = loss.cross_entropy_of(z, d, n_out, label, weight * scale)
    values[row], values[work.numbers[ROWS] + row] = distance, whole
    return hit, np.isfinite(distance + whole)


@kernel
def complete(work, first, last, start):
    """The losses of the rows first to last after `losses_of_row`. start: position of the batch's row 0 in the order."""
    if not _is_of_labels(work):
        return
    values, n, whole = work.space + work.numbers[LOSSES], lanes(work.space), last - (last - first) % lanes(work.space)
    sums = values + work.numbers[ROWS]
    for row in range(first, whole, n):
        store(values + row, log(load(sums + row)) + load(values + row))
    for row in range(whole, last):
        values[row] = first_lane(log(fill(sums, sums[row]))) + values[row]
    if work.numbers[WEIGHTED]:
        for row in range(first, last):
            values[row] = values[row] * _weight(work, sample_at(work, start + row))


@kernel
def _losses_of_labels(work, first, last, start, scale):
    """`losses` for many rows of that case."""
    hits, finite = 0, True
    for row in range(first, last):
        hit, is_finite = _delta_of_label(work, row, start + row, scale)
        hits += hit
        finite = finite and is_finite
    complete(work, first, last, start)
    return hits, finite


@kernel
def _losses_of_one_output(work, first, last, start, scale):
    """`losses` for the commonest regression: one linear output, squared error."""
    layer, finite = work.numbers[LAYERS], True
    width, stride = at(work, layer, WIDTH), at(work, layer, STRIDE)
    z, d = work.space + (at(work, layer, A) + first * stride), work.space + (at(work, layer, D) + first * stride)
    values = work.space + work.numbers[LOSSES]
    factor = 0.5 if work.numbers[LOSS] == HALF_MSE else 1.0
    for row in range(first, last):
        sample = sample_at(work, start + row)
        weight = _weight(work, sample)
        r = z[0] - work.targets[sample]
        slope = fill(d, r) * (2.0 * factor * (weight * scale))
        for j in range(0, width, lanes(d)):
            store(d + j, select(only_lane(d, -j), slope, 0.0))
        value = factor * (r * r) * weight
        values[row] = value
        finite = finite and np.isfinite(value)
        z = z + stride
        d = d + stride
    return np.int64(0), finite


@kernel
def _is_of_one_output(work):
    numbers, layer = work.numbers, work.numbers[LAYERS]
    is_linear = at(work, layer, N_OUT) == 1 and at(work, layer, ACTIVATION) == activation.LINEAR
    return is_linear and numbers[LOSS] in (MSE, HALF_MSE) and numbers[TARGET] == DENSE and numbers[ACCURACY] == NOTHING


@kernel
def _is_of_labels(work):
    numbers = work.numbers
    has_labels = numbers[TARGET] == LABELS and numbers[ACCURACY] == CLASSES
    return numbers[LOSS] == CROSS_ENTROPY and has_labels and work.loss_constants[SMOOTHING] == 0.0


@kernel
def _all_losses(work, first, last, start, scale):
    layer = work.numbers[LAYERS]
    n_out, width, stride = at(work, layer, N_OUT), at(work, layer, WIDTH), at(work, layer, STRIDE)
    act, beta, code = at(work, layer, ACTIVATION), work.betas[layer], work.numbers[LOSS]
    fused = code in (CROSS_ENTROPY, BINARY_CROSS_ENTROPY)
    smoothing = work.loss_constants[SMOOTHING]
    per_row = 1.0 if code in (HALF_MSE, CROSS_ENTROPY) else 1.0 / n_out
    border = 0.0 if fused else 0.5
    hits, finite = 0, True
    for row in range(first, last):
        z = work.space + (at(work, layer, A) + row * stride)
        d = work.space + (at(work, layer, D) + row * stride)
        sample = sample_at(work, start + row)
        _target_row(work, sample, d, n_out, width)
        if not fused:
            activate(act, beta, z, stride, 1, width, n_out)
        hits += _hits(work, sample, border, z, d, n_out)
        if smoothing > 0.0:
            loss.smooth(d, n_out, smoothing, n_out if code == CROSS_ENTROPY else 2)
        weight = _weight(work, sample)
        kept = work.space + (at(work, layer, Z) + row * stride)
        factor = weight * per_row
        value = _row_loss(work, code, act, beta, z, kept, d, stride, n_out, width, factor * scale)
        value *= factor
        if act == activation.CUSTOM:
            rowwise.delta(work, layer, row, row + 1)
        work.space[work.numbers[LOSSES] + row] = value
        finite = finite and np.isfinite(value)
    return hits, finite


@kernel
def losses(work, first, last, start, scale):
    """Loss and delta of the batch's rows first to last (exclusive), from the logits in the last layer's A.

    start: position of the batch's row 0 in the order; scale: of the deltas, 1 / samples for a gradient averaged over
    them. Writes D of the last layer and the row losses; returns (hits, whether every loss was finite).
    """
    if _is_of_labels(work):
        return _losses_of_labels(work, first, last, start, scale)
    if _is_of_one_output(work):
        return _losses_of_one_output(work, first, last, start, scale)
    return _all_losses(work, first, last, start, scale)


@inline
def losses_of_row(work, row, position, scale):
    """`losses` for a step of one sample, the one at a position of the order; the loss itself is for `complete`."""
    if _is_of_labels(work):
        return _delta_of_label(work, row, position, scale)
    return losses(work, row, row + 1, position - row, scale)

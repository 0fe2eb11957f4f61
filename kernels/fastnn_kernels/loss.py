"""Losses of one row of outputs, with their derivatives.

Each function takes the row of outputs (yhat, or the logits z where the loss is computed from them), the row d that
holds the targets y, and writes over d the derivative times `scale`. It returns the loss of the row: summed over the
outputs, not averaged. n_out outputs count; the padding up to whole vectors becomes 0.

Sources: Huber 1964; label smoothing, Szegedy et al. 2016; the Poisson loss is the negative log-likelihood of a
generalized linear model with the logarithm as its link (McCullagh and Nelder 1989), without ln y!.
"""

import numpy as np

from fastnn_kernels.elementary import exp, log, log1p, sigmoid
from fastnn_kernels.jit import inline, kernel
from fastnn_kernels.native import (
    absolute,
    fill,
    first_lane,
    first_lanes,
    fma,
    lanes,
    load,
    mask_word,
    max_lanes,
    maximum,
    minimum,
    only_lane,
    pointer,
    room,
    select,
    store,
    sum_lanes,
)
from fastnn_kernels.native.call import call_for_sum
from fastnn_kernels.team import fail

CODES = {
    "mse": 0,
    "half_mse": 1,
    "mae": 2,
    "binary_cross_entropy": 3,
    "cross_entropy": 4,
    "huber": 5,
    "poisson": 6,
    "custom": 7,
}
MSE, HALF_MSE, MAE, BINARY_CROSS_ENTROPY, CROSS_ENTROPY, HUBER, POISSON, CUSTOM = range(8)

# Indices of the loss's constants.
CONSTANT = 0  # delta of huber
SMOOTHING = 1  # of the labels
CONSTANTS = 2


@kernel
def squared(yhat, d, n_out, factor, scale):
    """factor * sum (yhat - y)^2; derivative 2 factor (yhat - y)"""
    total = fill(d, 0.0)
    for j in range(0, n_out, lanes(d)):
        r = select(first_lanes(d, n_out - j), load(yhat + j) - load(d + j), 0.0)
        total = total + r * r
        store(d + j, r * (2.0 * factor * scale))
    return factor * sum_lanes(total)


@kernel
def absolute_error(yhat, d, n_out, scale):
    """sum abs(yhat - y); derivative sgn(yhat - y), 0 at 0"""
    total = fill(d, 0.0)
    for j in range(0, n_out, lanes(d)):
        r = select(first_lanes(d, n_out - j), load(yhat + j) - load(d + j), 0.0)
        total = total + absolute(r)
        store(d + j, select(r > 0.0, fill(r, scale), select(r < 0.0, fill(r, -scale), 0.0)))
    return sum_lanes(total)


@kernel
def huber(yhat, d, n_out, delta, scale):
    """sum r^2 / 2 up to abs(r) = delta, delta (abs(r) - delta / 2) beyond; r = yhat - y; derivative r within +-delta"""
    total = fill(d, 0.0)
    for j in range(0, n_out, lanes(d)):
        r = select(first_lanes(d, n_out - j), load(yhat + j) - load(d + j), 0.0)
        bounded = maximum(fill(r, -delta), minimum(fill(r, delta), r))
        total = fma(bounded, r - 0.5 * bounded, total)
        store(d + j, bounded * scale)
    return sum_lanes(total)


@kernel
def poisson(z, d, n_out, scale):
    """sum e^z - y z, for z the logarithm of the rate; derivative e^z - y"""
    total = fill(d, 0.0)
    for j in range(0, n_out, lanes(d)):
        keep = first_lanes(d, n_out - j)
        log_rate, y = load(z + j), load(d + j)
        rate = exp(log_rate)
        total = total + select(keep, rate - y * log_rate, 0.0)
        store(d + j, select(keep, (rate - y) * scale, 0.0))
    return sum_lanes(total)


@kernel
def custom(words, function, yhat, d, n_out, scale):
    """The loss at the address `function`: f(yhat, d, n_out, total) writes its derivatives over the targets in d.

    words: the team's, which learn of an exception there.
    """
    total = room(pointer(np.float64, words), 1)
    total[0] = 0.0
    done = call_for_sum(function, yhat, d, n_out, total)
    if done < n_out:
        fail(words, 0, yhat[done], d[done])
    for j in range(0, n_out, lanes(d)):
        store(d + j, select(first_lanes(d, n_out - j), load(d + j) * scale, 0.0))
    return total[0]


@kernel
def smooth(d, n_out, smoothing, classes):
    """The targets d -> (1 - smoothing) d + smoothing / classes."""
    for j in range(0, n_out, lanes(d)):
        y = fma(load(d + j), 1.0 - smoothing, fill(d, smoothing / classes))
        store(d + j, select(first_lanes(d, n_out - j), y, 0.0))


@kernel
def binary_cross_entropy(z, d, n_out, scale):
    """sum ln(1 + e^z) - y z; derivative sigmoid(z) - y"""
    total = fill(d, 0.0)
    for j in range(0, n_out, lanes(d)):
        keep = first_lanes(d, n_out - j)
        logit, y = load(z + j), load(d + j)
        term = maximum(fill(logit, 0.0), logit) - logit * y + log1p(exp(-absolute(logit)))
        total = total + select(keep, term, 0.0)
        store(d + j, select(keep, (sigmoid(logit) - y) * scale, 0.0))
    return sum_lanes(total)


@kernel
def highest(z, n_out):
    """The largest of n_out outputs."""
    top = fill(z, -np.inf)
    for j in range(0, n_out, lanes(z)):
        top = maximum(top, select(first_lanes(z, n_out - j), load(z + j), -np.inf))
    return max_lanes(top)


@inline
def _shifted_exp(z, top, keep):
    """e^(z - top), 0 in lanes that are not to keep: never by underflow, which takes some processors 100 cycles."""
    return select(keep, exp(select(keep, z - top, 0.0)), 0.0)


@kernel
def softmax(z, n_out):
    """z -> e^z / sum e^z in place."""
    top = highest(z, n_out)
    total = fill(z, 0.0)
    for j in range(0, n_out, lanes(z)):
        e = _shifted_exp(load(z + j), top, first_lanes(z, n_out - j))
        store(z + j, e)
        total = total + e
    whole = sum_lanes(total)
    for j in range(0, n_out, lanes(z)):
        store(z + j, load(z + j) / whole)


@kernel
def cross_entropy(z, d, n_out, scale):
    """-sum y ln softmax(z); derivative softmax(z) - y, for targets that sum to 1. Overwrites z."""
    top = highest(z, n_out)
    total = fill(z, 0.0)
    weighted = fill(z, 0.0)
    for j in range(0, n_out, lanes(z)):
        logits = load(z + j)
        weighted = fma(load(d + j), logits - top, weighted)
        e = _shifted_exp(logits, top, first_lanes(z, n_out - j))
        store(z + j, e)
        total = total + e
    whole = sum_lanes(total)
    for j in range(0, n_out, lanes(z)):
        store(d + j, (load(z + j) / whole - load(d + j)) * scale)
    return first_lane(log(fill(z, whole))) - sum_lanes(weighted)


@kernel
def cross_entropy_of(z, d, n_out, label, scale):
    """The derivative of cross_entropy for the class `label`; the targets need not lie in d. May overwrite z.

    Returns (1 where the label is the first of the highest outputs, else 0; top - z of the label; sum e^(z - top)), top
    being the highest output: the loss is the logarithm of the third plus the second. No branch depends on where the
    highest lies, which would be guessed wrong too often.
    """
    if n_out <= lanes(z):
        return _of_one_vector(z, d, n_out, label, scale)
    if n_out <= 2 * lanes(z):
        return _of_two_vectors(z, d, n_out, label, scale)
    top, mine = highest(z, n_out), z[label]
    total, before = fill(z, 0.0), np.int64(0)
    for j in range(0, n_out, lanes(z)):
        value = load(z + j)
        before |= mask_word((value == top) & first_lanes(z, label - j))
        e = _shifted_exp(value, top, first_lanes(z, n_out - j))
        store(z + j, e)
        total = total + e
    whole = sum_lanes(total)
    for j in range(0, n_out, lanes(z)):
        store(d + j, _slope(load(z + j), whole, label - j, scale))
    return np.int64(mine == top and before == 0), top - mine, whole


@kernel
def _of_one_vector(z, d, n_out, label, scale):
    """The same for one vector, without a loop: its constants would take more instructions than its work."""
    keep, v, mine = first_lanes(z, n_out), load(z), z[label]
    top = max_lanes(select(keep, v, -np.inf))
    before = mask_word((v == top) & first_lanes(z, label))
    e = _shifted_exp(v, top, keep)
    whole = sum_lanes(e)
    store(d, _slope(e, whole, label, scale))
    return np.int64(mine == top and before == 0), top - mine, whole


@kernel
def _of_two_vectors(z, d, n_out, label, scale):
    """The same for two vectors."""
    n, mine = lanes(z), z[label]
    keep, v, u = first_lanes(z, n_out - n), load(z), load(z + n)
    top = max_lanes(maximum(v, select(keep, u, -np.inf)))
    before = mask_word((v == top) & first_lanes(z, label)) | mask_word((u == top) & first_lanes(z, label - n))
    v, u = exp(v - top), _shifted_exp(u, top, keep)
    whole = sum_lanes(v + u)
    store(d, _slope(v, whole, label, scale))
    store(d + n, _slope(u, whole, label - n, scale))
    return np.int64(mine == top and before == 0), top - mine, whole


@inline
def _slope(e, whole, lane, scale):
    """softmax - y of a vector, times scale; y is 1 in a lane that may lie outside."""
    return (e / whole - select(only_lane(e, lane), fill(e, 1.0), 0.0)) * scale

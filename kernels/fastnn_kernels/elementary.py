"""exp, log and their relatives on vectors, branch-free, one source for float32 and float64.

Errors are at most 3 units in the last place. Infinities, zeros and denormals give what
the mathematical function gives there; NaN gives NaN.

Sources: range reduction and kernels after Cephes (Moshier 1992) and fdlibm (Sun 1993).
"""

import numpy as np

from fastnn_kernels.jit import kernel
from fastnn_kernels.native import (
    absolute,
    bits,
    estimate_inverse_root,
    estimate_reciprocal,
    fill,
    fma,
    from_bits,
    has_estimates,
    maximum,
    minimum,
    pick,
    polynomial,
    select,
    sqrt,
    to_float,
)

# (e^r - 1 - r) / r^2 for abs(r) <= ln(2) / 2
_exp_tail = polynomial(
    (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1),
    (
        1 / 6227020800,
        1 / 479001600,
        1 / 39916800,
        1 / 3628800,
        1 / 362880,
        1 / 40320,
        1 / 5040,
        1 / 720,
        1 / 120,
        1 / 24,
        1 / 6,
        1 / 2,
    ),
)

# (2 atanh(s) - 2 s) / (s s^2) in powers of s^2, for abs(s) <= (sqrt(2) - 1) / (sqrt(2) + 1)
_log_tail = polynomial(
    (0.24279078841, 0.28498786688, 0.40000972152, 0.66666662693),
    (
        1.479819860511658591e-01,
        1.531383769920937332e-01,
        1.818357216161805012e-01,
        2.222219843214978396e-01,
        2.857142874366239149e-01,
        3.999999999940941908e-01,
        6.666666666666735130e-01,
    ),
)


@kernel
def _power_of_two(k):
    """2^k from the integer vector k, for exponents of normal numbers."""
    return from_bits((k + pick(k, 127, 1023)) << pick(k, 23, 52))


@kernel
def _reduce(x):
    """x = k ln 2 + r: the integer k, and e^r - 1. NaN passes through into the second."""
    shift = pick(x, 12582912.0, 6755399441055744.0)  # 1.5 * 2^23, 1.5 * 2^52: adding it rounds to an integer
    shifted = fma(x, 1.4426950408889634, shift)
    n = shifted - shift
    r = fma(n, pick(x, -0.693359375, -6.93147180369123816490e-01), x)
    r = fma(n, pick(x, 2.12194440e-4, -1.90821492927058770002e-10), r)
    return bits(shifted) - bits(shift), fma(r * r, _exp_tail(r), r)


@kernel
def exp(x):
    """e^x"""
    bounded = minimum(pick(x, 89.0, 710.0), maximum(pick(x, -104.0, -745.2), x))
    k, p = _reduce(bounded)
    half = k >> fill(k, 1)
    return (p + 1.0) * _power_of_two(half) * _power_of_two(k - half)


@kernel
def expm1(x):
    """e^x - 1, accurate near 0"""
    bounded = minimum(pick(x, 89.0, 709.9), maximum(pick(x, -18.0, -40.0), x))
    k, p = _reduce(bounded)
    half_scale = _power_of_two(k - fill(k, 1))
    y = fma(half_scale, p, half_scale - 0.5)
    y = y + y
    return select(absolute(x) < pick(x, 1e-8, 1e-17), x, y)


@kernel
def log(x):
    """ln x: minus infinity at 0, NaN below"""
    tiny = x < pick(x, 1.1754943508222875e-38, 2.2250738585072014e-308)
    scaled = select(tiny, x * pick(x, 8388608.0, 18014398509481984.0), x)
    # the exponent that brings the mantissa into [sqrt(1/2), sqrt(2))
    offset = bits(scaled) - bits(fill(x, 0.7071067811865476))
    k = offset >> pick(offset, 23, 52)
    f = from_bits(bits(scaled) - (k << pick(k, 23, 52))) - 1.0
    n = to_float(k) - select(tiny, pick(x, 23.0, 54.0), fill(x, 0.0))
    s = f / (f + 2.0)
    s2 = s * s
    half_square = 0.5 * f * f
    correction = fma(s, fma(s2, _log_tail(s2), half_square), n * pick(x, 9.0580006145e-06, 1.90821492927058770002e-10))
    y = fma(n, pick(x, 0.69313812256, 6.93147180369123816490e-01), f - (half_square - correction))
    y = select(x == np.inf, x, y)
    y = select(x == 0.0, -np.inf, y)
    return select(x >= 0.0, y, np.nan)


@kernel
def log1p(x):
    """ln(1 + x) for x >= 0, accurate near 0"""
    u = x + 1.0
    return select(u == np.inf, u, log(u) + (x - (u - 1.0)) / u)


@kernel
def sigmoid(x):
    """1 / (1 + e^-x), without overflow"""
    e = exp(-absolute(x))
    return select(x < 0.0, e, fill(x, 1.0)) / (e + 1.0)


@kernel
def softplus(x):
    """ln(1 + e^x), without overflow"""
    return maximum(fill(x, 0.0), x) + log1p(exp(-absolute(x)))


@kernel
def tanh(x):
    """(e^x - e^-x) / (e^x + e^-x), accurate near 0"""
    e = expm1(-2.0 * absolute(x))
    y = -e / (e + 2.0)
    return select(x < 0.0, -y, y)


@kernel
def divided_by_root(a, x, eps):
    """a / (sqrt(x) + eps) for x >= 0 and eps > 0, to a few units in the last place.

    Where the processor estimates roots and reciprocals, one Newton step each is half the time of sqrt and division. An
    x so small that its root is lost beside eps may count as the smallest normal number.
    """
    if has_estimates(x):
        x = maximum(x, fill(x, 1.1754943508222875e-38))
        y = estimate_inverse_root(x)
        root = x * y
        root = fma(root, fma(root, -0.5 * y, 0.5), root)
        divisor = root + eps
        r = estimate_reciprocal(divisor)
        return a * fma(r, fma(-divisor, r, 1.0), r)
    return a / (sqrt(x) + eps)


_sine_tail = polynomial(
    (1 / 362880, -1 / 5040, 1 / 120, -1 / 6),
    (1 / 355687428096000, -1 / 1307674368000, 1 / 6227020800, -1 / 39916800, 1 / 362880, -1 / 5040, 1 / 120, -1 / 6),
)
_cosine_tail = polynomial(
    (1 / 40320, -1 / 720, 1 / 24, -1 / 2),
    (1 / 20922789888000, -1 / 87178291200, 1 / 479001600, -1 / 3628800, 1 / 40320, -1 / 720, 1 / 24, -1 / 2),
)


@kernel
def cos_sin_turns(u):
    """cos(2 pi u) and sin(2 pi u) for u in [0, 1], to a few units in the last place of 1"""
    shift = pick(u, 12582912.0, 6755399441055744.0)
    quarter = fma(u, 4.0, shift) - shift
    x = fma(quarter, -0.25, u) * 6.283185307179586
    x2 = x * x
    sine, cosine = fma(x * x2, _sine_tail(x2), x), fma(x2, _cosine_tail(x2), 1.0)
    odd = (quarter - 1.0) * (quarter - 3.0) == 0.0
    c, s = select(odd, sine, cosine), select(odd, cosine, sine)
    c = select((quarter - 1.5) * (quarter - 1.5) < 0.5, -c, c)
    return c, select((quarter - 2.5) * (quarter - 2.5) < 0.5, -s, s)

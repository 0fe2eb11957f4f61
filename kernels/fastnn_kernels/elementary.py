"""exp, log and their relatives on vectors, branch-free, one source for float32 and float64.

Errors are at most 2 units in the last place in float32, 3 in float64. Infinities, zeros and denormals
give what the mathematical function gives there; NaN gives NaN.

Sources: range reduction and kernels after Cephes (Moshier 1992) and fdlibm (Sun 1993).
"""

import numpy as np

from fastnn_kernels.jit import kernel
from fastnn_kernels.native import (
    absolute,
    bits,
    estimate_inverse_root,
    estimate_reciprocal,
    estimates_reciprocals,
    estimates_roots,
    fill,
    fma,
    from_bits,
    is_single,
    maximum,
    minimum,
    pick,
    polynomial,
    select,
    sqrt,
    to_float,
    with_sign,
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
    """1 / (1 + e^-x): both sides of the fraction times 2^-64 or 2^-512, so that nothing overflows"""
    bounded = minimum(pick(x, 104.0, 745.2), maximum(pick(x, -40.0, -45.0), -x))
    k, p = _reduce(bounded)
    one = pick(x, 2.0**-64, 2.0**-512)
    power = _power_of_two(k - pick(k, 64, 512))
    return one / (fma(power, p, one) + power)


@kernel
def softplus(x):
    """ln(1 + e^x), without overflow"""
    return maximum(fill(x, 0.0), x) + log1p(exp(-absolute(x)))


# (tanh(x) - x) / x^3 in powers of x^2, for abs(x) <= 0.6
_tanh_tail = polynomial(
    (-0.005893946866396694, 0.02079461917318163, -0.05378329348313492, 0.13331915305332911, -0.3333329751042204),
    (0.0,),  # not used: near 0 float64 takes expm1
)


@kernel
def tanh(x):
    """(e^x - e^-x) / (e^x + e^-x), accurate near 0. In float32 a polynomial there, 1 - 2 / (e^2x + 1) farther out"""
    size = absolute(x)
    if is_single(x):
        k, p = _reduce(minimum(fill(x, 20.0), size + size))
        power = _power_of_two(k)
        far = 1.0 - 2.0 / (fma(power, p, 1.0) + power)
        x2 = x * x
        return select(size < 0.6, fma(x * x2, _tanh_tail(x2), x), with_sign(far, x))
    k, p = _reduce(maximum(fill(x, -40.0), -2.0 * size))
    power = _power_of_two(k)
    e = fma(power, p, power - 1.0)
    return with_sign(e / (e + 2.0), x)


# (erf(x) - x) / x in powers of x^2, for abs(x) <= 1
_erf_tail = polynomial(
    (-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1),
    (
        -7.798543850549947e-10,
        1.3721520406351094e-08,
        -1.6208829856810202e-07,
        1.6447471190594618e-06,
        -1.4924740785377576e-05,
        0.00012055295112667001,
        -0.0008548325982543225,
        0.005223977607269946,
        -0.026866170643256995,
        0.1128379167094513,
        -0.37612638903183543,
        0.12837916709551256,
    ),
)

# ln(erfc(x)) / x + 1 for x from 0.93 to 4 or from 1 to 6
_log_erfc = polynomial(
    (-1.72853470e-5, 3.83197126e-4, -3.88396438e-3, 2.42546219e-2, -1.06777877e-1, -6.34846687e-1, -1.28717512e-1),
    (
        1.5271872337499404e-12,
        -6.77658686017589e-11,
        1.4080604448031155e-09,
        -1.8192295449949407e-08,
        1.634875715513219e-07,
        -1.0806851674494278e-06,
        5.39593431834609e-06,
        -2.038599126159069e-05,
        5.612651213300182e-05,
        -9.566297002520811e-05,
        1.2540332047469437e-06,
        0.0005743119327200783,
        -0.0016922740298146097,
        0.00021179243875116805,
        0.01912509535077862,
        -0.10277087542100445,
        -0.6366202416473422,
        -0.12837911202763658,
    ),
)


@kernel
def erf(x):
    """2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x"""
    size = absolute(x)
    x2 = x * x
    near = fma(x, _erf_tail(x2), x)
    bounded = minimum(pick(x, 4.0, 6.0), size)
    far = 1.0 - exp(fma(bounded, _log_erfc(bounded), -bounded))
    return select(size < pick(x, 0.927734375, 1.0), near, with_sign(far, x))


@kernel
def under_root(p, eps_root):
    """eps_root as `descended` wants it for vectors at pointer p: an estimate takes no root of 0.

    The smallest normal number, which then stands for 0, has a root that is lost beside any eps.
    """
    return max(eps_root, 1.1754943508222875e-38) if estimates_roots(fill(p, 0.0)) else eps_root


@kernel
def _twice_root(x, more):
    """2 sqrt(x) + more for x > 0; where the processor estimates the root, one Newton step is half the time."""
    if estimates_roots(x):
        y = estimate_inverse_root(x)
        root = x * y
        return fma(root, fma(-y, root, 3.0), more)
    return fma(sqrt(x), 2.0, more)


@kernel
def descended(w, a, rate, x, shift, eps):
    """w - rate a / (sqrt(x + shift) + eps) for x >= 0, shift from `under_root`: the quotient to some last places.

    Where the processor estimates reciprocals, one Newton step leaves the divider to the root. That of the root is least
    work for its double: so the quotient's other part is doubled as well.
    """
    a, divisor = a * (2.0 * rate), _twice_root(x + shift, 2.0 * eps)
    if estimates_reciprocals(x):
        r = estimate_reciprocal(divisor)
        return fma(-a, fma(r, fma(-divisor, r, 1.0), r), w)
    return w - a / divisor


# (sin(x) - x) / x^3 and (cos(x) - 1) / x^2 in powers of x^2, for abs(x) <= pi / 4; float32 does with the last four
SINE = 1 / 355687428096000, -1 / 1307674368000, 1 / 6227020800, -1 / 39916800, 1 / 362880, -1 / 5040, 1 / 120, -1 / 6
COSINE = 1 / 20922789888000, -1 / 87178291200, 1 / 479001600, -1 / 3628800, 1 / 40320, -1 / 720, 1 / 24, -1 / 2
_sine_tail = polynomial(SINE[-4:], SINE)
_cosine_tail = polynomial(COSINE[-4:], COSINE)


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

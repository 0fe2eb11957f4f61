"""What is planned for a device's memory fits into it."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from fastnn_kernels.cuda import budget
from fastnn_kernels.cuda.budget import Needs, TooLargeError, plan

MIB = 1 << 20


def needs(samples=100_000, sample=4000, fixed=100 * MIB, a_row=50_000):
    return Needs(fixed, sample, samples, 4 * samples, lambda rows: rows * a_row)


def used(wanted, found):
    """Bytes of what a budget says."""
    data = wanted.data if found.piece is None else 2 * found.piece * wanted.sample
    return wanted.fixed + wanted.order + wanted.workspace(found.rows) + data


def test_where_all_fits_nothing_is_divided():
    assert plan(needs(), 128, False, 80 << 30) == budget.Budget(128, None)
    assert plan(needs(), 100_000, False, 80 << 30).rows == budget.MOST_ROWS
    assert plan(needs(), 100_000, True, 80 << 30).rows == 100_000


def test_rows_shrink_before_samples_leave_the_device():
    found = plan(needs(), 16_384, False, 800 * MIB)
    assert found.piece is None
    assert budget.FEWEST_ROWS <= found.rows < 16_384


@pytest.mark.parametrize("free", [200 * MIB, 800 * MIB, 3000 * MIB])
def test_a_library_gets_its_memory(free, monkeypatch):
    monkeypatch.setattr(budget, "RESERVE", (0, 0.0))
    assert plan(replace(needs(), library=32 * MIB), 16_384, False, free + 32 * MIB) == plan(
        needs(), 16_384, False, free
    )


def test_samples_that_are_there_already_need_no_piece():
    assert plan(needs(sample=0, a_row=MIB), 4096, False, 900 * MIB) == budget.Budget(512, None)


def drawn():
    """Needs, a batch and a device, of all sizes."""
    rng = np.random.default_rng(1)
    for _ in range(500):
        sizes = (int(10 ** rng.uniform(low, high)) for low, high in ((2, 7), (0, 5), (4, 9), (2, 6)))
        yield needs(*sizes), int(10 ** rng.uniform(0, 5)), int(10 ** rng.uniform(8, 11))


def spare(free):
    return max(budget.RESERVE[0], budget.RESERVE[1] * free)


@pytest.mark.parametrize("is_whole", [False, True])
def test_whatever_is_planned_fits(is_whole):
    planned = streamed = 0
    for wanted, batch, free in drawn():
        with suppress(TooLargeError):
            found = plan(wanted, batch, is_whole, free)
            planned += 1
            streamed += found.piece is not None
            assert used(wanted, found) + spare(free) <= free
            assert found.rows == batch or not is_whole
            assert found.piece is None or found.piece >= found.rows
    assert min(planned, streamed) > 20


@pytest.mark.parametrize("is_whole", [False, True])
def test_what_is_refused_does_not_fit(is_whole):
    refused = hinted = 0
    for wanted, batch, free in drawn():
        error = refusal(wanted, batch, is_whole, free)
        if error is not None:
            refused += 1
            least = batch if is_whole else 1
            assert used(wanted, budget.Budget(least, least)) + spare(free) > free
            assert error.fitting < batch
            if error.fitting:
                hinted += 1
                assert plan(wanted, error.fitting, is_whole, free).rows == error.fitting
    assert refused > 10
    assert (hinted > 5) == is_whole


def refusal(*args):
    try:
        plan(*args)
    except TooLargeError as error:
        return error
    return None

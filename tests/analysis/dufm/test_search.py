"""The search against proven optima, and what it promises of itself."""

import math
import time
from dataclasses import replace

import pytest
import torch

from analysis.dufm.model import Variables, losses
from analysis.dufm.problem import Problem
from analysis.dufm.search.search import Effort, narrow_widths, search
from analysis.dufm.search.starts import Start

QUICK = Effort(patience=2, deadline=None)


def problem(num_classes, depth, decay=0.004, width=30):
    return Problem(
        num_classes=num_classes, widths=(width,) * depth, weight_decays=(decay,) * depth, feature_decay=decay
    )


def dnc_loss(num_classes, depth, decay):
    """min over s of ½(1−s)² + K (L+1)/2 λ̄ s^{2/(L+1)}, on a grid that is refined around its best point."""
    low, high = 0.0, 1.0
    best = 0.5
    for _ in range(8):
        grid = [low + (high - low) * index / 2000 for index in range(2001)]
        values = [(1 - s) ** 2 / 2 + num_classes * (depth + 1) / 2 * decay * s ** (2 / (depth + 1)) for s in grid]
        place = min(range(2001), key=values.__getitem__)
        best = min(best, values[place])
        low, high = grid[max(0, place - 1)], grid[min(2000, place + 1)]
    return best


@pytest.mark.parametrize(
    ("num_classes", "depth"), [(2, 2), (2, 3), (2, 6), (3, 3), (3, 2), (5, 2), (8, 2), (5, 1), (12, 1)]
)
def test_where_dnc_is_the_proven_optimum_it_comes_out_and_nothing_below(num_classes, depth):
    found = search(problem(num_classes, depth), restarts=32, seed=1, starts=[], effort=QUICK)
    assert found.loss == pytest.approx(dnc_loss(num_classes, depth, 0.004), rel=1e-6)


def test_the_loss_is_that_of_the_variables():
    found = search(problem(4, 3), restarts=16, seed=0, starts=[], effort=QUICK)
    assert found.variables.features.dtype == torch.float64
    assert float(losses(found.problem, found.variables).loss) == pytest.approx(found.loss, rel=1e-12)
    assert found.restarts == 16
    assert found.reached_by is not None
    assert 0 <= found.reached_by <= 1


def test_low_rank_beats_dnc_at_six_classes_and_five_layers():
    found = search(problem(6, 5), restarts=16, seed=0, starts=[], effort=replace(QUICK, patience=1))
    assert found.loss < 0.99 * dnc_loss(6, 5, 0.004)


def test_the_same_seed_gives_the_same_and_another_seed_another_path():
    first, second = (search(problem(4, 3), restarts=9, seed=7, starts=[], effort=QUICK) for _ in range(2))
    assert first.loss == second.loss
    assert all(torch.equal(a, b) for a, b in zip(first.variables.tensors, second.variables.tensors, strict=True))
    assert first.hops == second.hops
    assert first.stopped_by == "patience"


def test_strong_decay_ends_at_zero():
    found = search(problem(4, 3, decay=0.5), restarts=16, seed=0, starts=[], effort=QUICK)
    assert found.loss == pytest.approx(0.5, rel=1e-9)


def test_where_most_fall_to_zero_what_is_below_is_found_and_zero_where_nothing_is():
    few = replace(QUICK, patience=0)
    assert search(problem(8, 4, decay=0.03), restarts=8, seed=0, starts=[], effort=few).loss < 0.49
    at_zero = search(problem(4, 4, decay=0.06), restarts=8, seed=0, starts=[], effort=few)
    assert at_zero.loss == pytest.approx(0.5, rel=1e-9)
    assert at_zero.reached_by > 0.5


def test_it_ends_no_worse_than_where_it_was_told_to_start():
    good = search(problem(5, 4), restarts=12, seed=0, starts=[], effort=QUICK)
    again = search(
        problem(5, 4), restarts=0, seed=1, starts=[Start("known", good.variables)], effort=replace(QUICK, patience=1)
    )
    assert again.loss <= good.loss * (1 + 1e-9)
    assert again.start == "known"
    assert again.reached_by is None


def test_a_start_too_wide_to_search_with_is_not_lost():
    num_classes, depth, decay = 14, 5, 0.001
    wide = problem(num_classes, depth, decay)
    assert min(narrow_widths(wide)) < num_classes  # narrower than 14 orthogonal features
    eye = 0.95 ** (1 / (depth + 1)) * torch.eye(num_classes, dtype=torch.float64)[None]
    start = Start("wide", Variables(eye, (eye,) * depth))
    found = search(wide, restarts=0, seed=0, starts=[start], effort=replace(QUICK, patience=0))
    assert found.start == "wide"
    assert found.loss <= float(losses(replace(wide, widths=(num_classes,) * depth), start.variables).loss)


def test_narrow_layers_are_kept_to():
    narrow = replace(problem(4, 3), widths=(3, 2, 6))
    found = search(narrow, restarts=16, seed=0, starts=[], effort=QUICK)
    assert all(used <= width for used, width in zip(found.problem.widths, narrow.widths, strict=True))
    free = search(problem(4, 3), restarts=16, seed=0, starts=[], effort=QUICK)
    assert found.loss >= free.loss * (1 - 1e-6)


def test_the_deadline_ends_it_with_what_is_there():
    found = search(
        problem(8, 4), restarts=10_000, seed=0, starts=[], effort=Effort(patience=10, deadline=time.monotonic() + 0.5)
    )
    assert found.stopped_by == "budget"
    assert found.restarts < 10_000
    assert math.isfinite(found.loss)


def test_a_goal_ends_it():
    goal = 1.05 * dnc_loss(3, 3, 0.004)
    found = search(
        problem(3, 3), restarts=10_000, seed=0, starts=[], effort=Effort(patience=10, deadline=None, goal=goal)
    )
    assert found.loss <= goal
    assert found.restarts < 10_000


def test_what_the_tick_raises_stops_it():
    ticks = 0

    def tick():
        nonlocal ticks
        ticks += 1
        if ticks == 5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        search(problem(5, 4), restarts=64, seed=0, starts=[], effort=QUICK, tick=tick)

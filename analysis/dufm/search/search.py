"""The search: random restarts, starts that are handed in, and hops from the best solutions so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt
from time import monotonic
from typing import Final, Literal

import torch
from torch import Tensor

from analysis.dufm.model import Variables
from analysis.dufm.problem import Problem
from analysis.dufm.search.annealing import COLD, FINE, GENTLE, WARM, Schedule, anneal
from analysis.dufm.search.finalists import End, Finalists, loss_of
from analysis.dufm.search.neurons import living_widths, resize
from analysis.dufm.search.newton import OutOfTime
from analysis.dufm.search.objective import Flat, Objective, Tick, loss_at
from analysis.dufm.search.pool import Pool
from analysis.dufm.search.starts import Start, disturb, random_starts, start_ranks

BATCH: Final = 32
LARGEST_RUNS: Final = 128
SMALL_BATCH: Final = 40_000
"""Variables of a batch below which more runs cost no more time."""
LARGEST_BATCH: Final = 2_000_000
"""Variables of a batch; L-BFGS keeps about 20 numbers for each."""
POOL: Final = 8
"""Solutions of different loss that are hopped from."""
BETTER: Final = 1e-5
"""A hop has brought something if the loss falls by more than this, relative."""
REACHED: Final = 1e-4
"""A restart has reached the best loss within this, relative."""
NEARLY: Final = 1e-2
"""Restarts and islands whose loss is within this of the best, relative, are followed to their minimum."""
RANDOM_SHARE: Final = 0.35
"""Of the time: for random restarts and the hops from these; the rest is for hops from the best of all starts."""
ZERO_LOSS: Final = 0.5
LESS_DECAY: Final = ((1 / 8, COLD), (1 / 4, WARM), (1 / 2, WARM))
"""Shares of the decay, in turn."""
TRIAL_ROUNDS: Final = 6
"""Of hops on an island, after which it is compared with the others."""


@dataclass(frozen=True)
class Effort:
    """How long to search: whichever comes first."""

    patience: int
    """rounds of hops without a better solution, for each island and for all of them in the end"""
    deadline: float | None
    """on the monotonic clock"""
    goal: float | None = None
    """a loss that is good enough"""
    end: float | None = None
    """on the monotonic clock: until then the last digits are worked on"""

    def over(self, best: float) -> bool:
        """Whether time is up, or the best loss so far is good enough."""
        return (self.deadline is not None and monotonic() > self.deadline) or (
            self.goal is not None and best <= self.goal
        )


@dataclass(frozen=True)
class Found:
    """The best solution, of the reduced problem at its own narrow widths."""

    problem: Problem
    variables: Variables
    loss: float
    start: str
    restarts: int
    reached_by: float | None
    hops: int
    """rounds of them"""
    history: tuple[tuple[float, float], ...]
    """(seconds since the beginning, best loss), each time that it fell"""
    stopped_by: Literal["patience", "budget"]


def narrow_widths(problem: Problem) -> tuple[int, ...]:
    """Widths to search with: no more neurons than solutions of low rank use, and no more than there are.

    Optima have ranks near √(2K) for depths from 3 on, and non-negative features of that rank fit into a few more
    neurons; the last hidden layer makes them rank K again. Up to depth 2 nothing is gained by low rank, and K neurons
    are needed.
    """
    num_classes, depth = problem.num_classes, problem.depth
    middle = ceil(sqrt(2 * num_classes)) + 2 if depth > 3 else num_classes + 1
    last = max(16, 2 * num_classes)
    return tuple(
        min(width, last if layer == depth - 1 and depth > 1 else middle) for layer, width in enumerate(problem.widths)
    )


def search(
    problem: Problem,
    *,
    restarts: int,
    seed: int,
    starts: Sequence[Start],
    effort: Effort,
    device: str = "cpu",
    tick: Tick = lambda: None,
) -> Found:
    """Search the reduced problem (n = 1, one decay). The same arguments give the same result, unless time runs out."""
    return _Search(problem, seed=seed, effort=effort, device=device, tick=tick).run(restarts, starts)


@dataclass
class _Search:
    problem: Problem
    seed: int
    effort: Effort
    device: str
    tick: Tick

    def __post_init__(self) -> None:
        self.objective = Objective(replace(self.problem, widths=narrow_widths(self.problem)))
        self.generator = torch.Generator().manual_seed(self.seed)
        self.given: list[End] = []
        self.wide: list[End] = []
        self.hops = 0
        self.began = monotonic()
        self.history: list[tuple[float, float]] = []

    def run(self, restarts: int, starts: Sequence[Start]) -> Found:
        pool = self._new_pool()
        self._begin_from(starts, pool)
        reached = self._explore(restarts, pool)
        pool = self._widened(pool)
        self._hop(pool, over=lambda: self._over)
        stopped_by: Literal["patience", "budget"] = "budget" if self._over else "patience"
        finalists = Finalists(self.problem, self.objective, tick=self.tick, tick_until_end=self._tick_until_end)
        start, flat, objective = finalists.best(pool, wide=self.wide, given=self.given)
        loss = float(objective.value_and_gradient(flat, smoothing=0)[0])
        return Found(
            problem=objective.problem,
            variables=objective.variables(flat),
            loss=loss,
            start=start,
            restarts=len(reached),
            reached_by=sum(end <= loss * (1 + REACHED) for end in reached) / len(reached) if reached else None,
            hops=self.hops,
            history=(*self.history, (monotonic() - self.began, loss)),
            stopped_by=stopped_by,
        )

    @property
    def _over(self) -> bool:
        return self.effort.over(self.history[-1][1] if self.history else float("inf"))

    def _random_over(self) -> bool:
        deadline = self.effort.deadline
        return self._over or (
            deadline is not None and monotonic() > self.began + RANDOM_SHARE * (deadline - self.began)
        )

    def _tick_until_end(self) -> None:
        self.tick()
        if self.effort.end is not None and monotonic() > self.effort.end:
            raise OutOfTime

    @property
    def batch(self) -> int:
        """Runs side by side: more where calls cost more than numbers, fewer where memory ends."""
        variables = sum(self.objective.sizes)
        return max(2, min(max(BATCH, SMALL_BATCH // variables), LARGEST_RUNS, LARGEST_BATCH // variables))

    def _new_pool(self) -> Pool:
        return Pool(size=POOL, variables=sum(self.objective.sizes), device=self.device)

    def _begin_from(self, starts: Sequence[Start], pool: Pool) -> None:
        """From what was handed in; what needs more neurons than are searched with waits."""
        fitting: list[tuple[str, Flat]] = []
        for start in starts:
            self.given.append((loss_at(self.problem, start.variables), start))
            resized = resize(start.variables, self.objective.problem.widths)
            if resized is None:
                self.wide.append(self.given[-1])
            else:
                fitting.append((start.name, self.objective.flatten(resized).to(pool.flats)))
        for first in range(0, len(fitting), self.batch):
            batch = fitting[first : first + self.batch]
            names, flat = [name for name, _ in batch], torch.cat([flat for _, flat in batch])
            self._descend(flat, names, GENTLE, pool)
            # And with a little noise: an exactly symmetric start does not move off its kinks.
            scale = 0.03 * flat.square().mean(dim=1, keepdim=True).sqrt()
            noise = torch.randn(flat.shape, generator=self.generator).to(flat)
            self._descend(flat + scale * noise, names, GENTLE, pool)

    def _explore(self, restarts: int, pool: Pool) -> list[float]:
        """Random restarts, island by island: first each rank for a while, then what promises most.

        Returns the losses that the restarts end at: of those that come near the best, at the bottom.
        """
        ranks = start_ranks(self.problem)
        share = ceil(restarts / len(ranks))
        ends: list[float] = []
        islands: list[_Island] = []

        def settle(rank: int | None, number: int) -> None:
            islands.append(_Island(rank, self._new_pool()))
            ends.extend(self._restart(islands[-1], number))
            self._hop(islands[-1].pool, over=self._random_over, rounds=TRIAL_ROUNDS)

        for rank in ranks:
            if len(ends) < restarts and not self._random_over():
                settle(rank, min(self.batch, share, restarts - len(ends)))
        for island in sorted(islands, key=best_of):
            self._go_on(island, islands)
        while len(ends) < restarts and not self._random_over():
            settle(min(islands, key=best_of).rank, min(self.batch, restarts - len(ends)))
            self._go_on(islands[-1], islands)
        for island in islands:
            pool.add(island.pool.flats, island.pool.losses, island.pool.names)
        return ends

    def _restart(self, island: _Island, number: int) -> list[float]:
        start = random_starts(self.objective, number, self.generator, rank=island.rank).to(island.pool.flats)
        ends = self._ends(island, start, COLD)
        if float(ends.min()) > ZERO_LOSS * (1 - REACHED):
            ends = torch.minimum(ends, self._ends(island, self._with_less_decay(start), WARM))
        return ends.tolist()

    def _ends(self, island: _Island, flat: Flat, schedule: Schedule) -> Tensor:
        flat, losses = anneal(self.objective, flat, schedule, tick=self.tick)
        near = losses <= losses.min() * (1 + NEARLY)
        flat[near], losses[near] = anneal(self.objective, flat[near], FINE, tick=self.tick)
        self._add(island.pool, flat, losses, ["random"] * len(losses))
        return losses

    def _with_less_decay(self, flat: Flat) -> Flat:
        """Where these come to with a part of the decay: with all of it they fall to zero."""
        for share, schedule in LESS_DECAY:
            decay = share * self.problem.feature_decay
            problem = replace(self.objective.problem, weight_decays=(decay,) * self.problem.depth, feature_decay=decay)
            flat, _ = anneal(Objective(problem), flat, schedule, tick=self.tick)
        return flat

    def _go_on(self, island: _Island, islands: Sequence[_Island]) -> None:
        """Hop on where that may lead below all others."""
        if best_of(island) <= min(map(best_of, islands)) * (1 + NEARLY):
            self._hop(island.pool, over=self._random_over)

    def _hop(self, pool: Pool, *, over: Callable[[], bool], rounds: int | None = None) -> None:
        """Disturb the solutions of the pool and descend again, until that has brought nothing for a while."""
        since_better, last = 0, None if rounds is None else self.hops + rounds
        while pool.names and since_better < self.effort.patience and self.hops != last and not over():
            before = pool.best
            parents, names = pool.parents(self.batch, self.generator)
            disturbed = disturb(self.objective, parents, self.generator, way=self.hops)
            self._descend(disturbed.to(pool.flats), names, WARM, pool)
            self.hops += 1
            since_better = 0 if pool.best < before * (1 - BETTER) else since_better + 1

    def _descend(self, flat: Flat, names: Sequence[str], schedule: Schedule, pool: Pool) -> None:
        self._add(pool, *anneal(self.objective, flat, schedule, tick=self.tick), names)

    def _add(self, pool: Pool, flat: Flat, losses: Tensor, names: Sequence[str]) -> None:
        pool.add(flat, losses, names)
        if not self.history or pool.best < self.history[-1][1]:
            self.history.append((monotonic() - self.began, pool.best))

    def _widened(self, pool: Pool) -> Pool:
        """Where a start that was too wide is still the best, go on with as many neurons as it needs."""
        if not self.wide or min(self.wide, key=loss_of)[0] >= pool.best:
            return pool
        start, before = min(self.wide, key=loss_of)[1], self.objective
        widths = tuple(map(max, before.problem.widths, living_widths(start.variables)))
        self.objective = Objective(replace(self.problem, widths=widths))
        wider = self._new_pool()
        for flat, loss, name in zip(pool.flats, pool.losses, pool.names, strict=True):
            variables = resize(before.variables(flat[None]), widths)
            assert variables is not None, "wider layers hold what narrower ones held"
            wider.add(self.objective.flatten(variables), loss[None], [name])
        self._begin_from([start], wider)
        return wider


@dataclass(frozen=True)
class _Island:
    """Restarts of one rank and the hops among their ends alone: the best of all others would crowd them out.

    What leads lowest in the end is not what is lowest in the beginning: at L = 7, K = 15 networks of rank 3 start 20 %
    above those of rank 5 and end 4 % below.
    """

    rank: int | None
    pool: Pool


def best_of(island: _Island) -> float:
    """The least loss on it."""
    return island.pool.best

"""Make the catalogue of optima, or make it better: `make catalogue`. One cell at a time; what is there is kept.

usage: python -m analysis.dufm.cataloguing [options]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from analysis.dufm import catalogue
from analysis.dufm.artifacts import from_safetensors, to_safetensors
from analysis.dufm.catalogue import CatalogueEntry
from analysis.dufm.exact import settle
from analysis.dufm.model import Variables, losses
from analysis.dufm.neighbours import neighbours
from analysis.dufm.problem import Problem
from analysis.dufm.reference_starts import reference_starts
from analysis.dufm.references import references
from analysis.dufm.search.objective import Objective
from analysis.dufm.search.search import Effort, search
from analysis.dufm.search.stationarity import check_stationarity
from analysis.dufm.structure import classify, ranks

FOLDER: Final = Path(__file__).with_name("optima")
SPARE_WIDTH: Final = 4
"""Times K: neurons that the search may use in a layer."""
BETTER: Final = 1e-9
"""An entry is replaced by one whose loss is smaller by more than this, relative."""

Cell = tuple[int, int, float]


def cell_problem(num_classes: int, depth: int, decay: float) -> Problem:
    """The reduced problem of a cell, with neurons to spare."""
    return Problem(
        num_classes=num_classes,
        widths=(SPARE_WIDTH * num_classes,) * depth,
        weight_decays=(decay,) * depth,
        feature_decay=decay,
    )


def improve(
    cell: Cell, *, seconds: float, restarts: int, patience: int, seed: int
) -> tuple[CatalogueEntry, float | None]:
    """Search the cell; the entry that is the best now, and the loss of the one before."""
    problem = cell_problem(*cell)
    before = catalogue.find(*cell)
    starts = [*reference_starts(problem), *neighbours(problem)]
    found = search(
        problem,
        restarts=restarts,
        seed=seed,
        starts=starts,
        effort=Effort(patience=patience, deadline=time.monotonic() + seconds),
    )
    settled = settle(found, starts)
    exact = settled.source != "search" and before is not None and before.start != settled.source
    if before is not None and not exact and found.loss >= before.loss * (1 - BETTER):
        return before, before.loss
    start = before.start if before is not None and settled.start == neighbour_name(cell) else settled.start
    return write_entry(settled.problem, settled.variables, start=start), None if before is None else before.loss


def neighbour_name(cell: Cell) -> str:
    """What the search calls the entry that was there before."""
    num_classes, depth, decay = cell
    return f"catalogue: K={num_classes} L={depth} decay={decay}"


def write_entry(problem: Problem, variables: Variables, *, start: str, folder: Path = FOLDER) -> CatalogueEntry:
    """Put a solution of a reduced problem into the catalogue, described from its matrices alone."""
    entry = describe(problem, variables, start=start)
    metadata = {catalogue.METADATA: entry.model_dump_json(), "problem": json.dumps(asdict(problem))}
    content = to_safetensors(variables, metadata)
    path = folder / catalogue.file_name(entry.num_classes, entry.depth, entry.decay)
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").rename(path)
    catalogue.forget()
    return entry


def describe(problem: Problem, variables: Variables, *, start: str) -> CatalogueEntry:
    """What the catalogue says of a solution of a reduced problem."""
    parts = losses(problem, variables)
    loss = float(parts.loss)
    found_ranks = ranks(problem, variables)
    objective = Objective(problem)
    known = references(replace(problem, widths=(SPARE_WIDTH * problem.num_classes,) * problem.depth))
    assert known.dnc is not None, "the layers are wide enough"
    assert known.lower_bound is not None, "the decay is positive"
    return CatalogueEntry(
        num_classes=problem.num_classes,
        depth=problem.depth,
        decay=problem.feature_decay,
        loss=loss,
        fit=float(parts.fit),
        regularization=float(parts.regularization),
        structure=classify(problem, variables),
        rank=found_ranks[problem.last_pre_activation],
        ranks=found_ranks,
        widths=problem.widths,
        start=start,
        references=known.model_copy(update={"best_known": loss, "reasons": {}}),
        loss_over_dnc=loss / known.dnc,
        gap=loss - known.lower_bound,
        stationarity=check_stationarity(objective, objective.flatten(variables)),
    )


def found_in(path: Path) -> tuple[CatalogueEntry, Variables]:
    """An entry's file, read."""
    return catalogue.read_entry(path), from_safetensors(path.read_bytes())


def cells(decays: Sequence[float], classes: Sequence[int], depths: Sequence[int]) -> Iterator[Cell]:
    """Decay by decay, the deep ones first: they take the longest and teach the others the most."""
    for decay in decays:
        for depth in sorted(depths, reverse=True):
            for num_classes in classes:
                yield num_classes, depth, decay


def main() -> None:
    """Go through the cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--decays", type=float, nargs="+", default=[0.004, 0.001, 0.016])
    parser.add_argument("--classes", type=int, nargs="+", default=list(catalogue.CLASSES))
    parser.add_argument("--depths", type=int, nargs="+", default=list(catalogue.DEPTHS))
    parser.add_argument("--seconds", type=float, default=60, help="for one cell, at most")
    parser.add_argument("--restarts", type=int, default=512)
    parser.add_argument("--patience", type=int, default=8, help="rounds of hops that may bring nothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="search cells again that have an entry")
    chosen = parser.parse_args()
    for cell in cells(chosen.decays, chosen.classes, chosen.depths):
        if chosen.again or catalogue.find(*cell) is None:
            started = time.monotonic()
            entry, before = improve(
                cell,
                seconds=chosen.seconds,
                restarts=chosen.restarts,
                patience=chosen.patience,
                seed=chosen.seed,
            )
            print(_line(entry, before, time.monotonic() - started), flush=True)


def _line(entry: CatalogueEntry, before: float | None, seconds: float) -> str:
    news = "new" if before is None else "kept" if entry.loss == before else f"{1 - entry.loss / before:.1e} better"
    return (
        f"K={entry.num_classes:2} L={entry.depth} decay={entry.decay:g}  loss {entry.loss:.8f}  {entry.structure:8}  "
        f"rank {entry.rank:2}  {entry.loss_over_dnc:.4f} of DNC  {news}  {seconds:.0f} s  from {entry.start}"
    )


if __name__ == "__main__":
    main()

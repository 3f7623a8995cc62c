"""The catalogue of optima: the best solutions known, cell by cell. Free of torch; `cataloguing.py` makes it.

A cell is a number of classes, a depth and a decay λ̄. Its file in `optima/` is a safetensors file with the matrices of
the reduced problem (n = 1, all decays λ̄) at as many neurons as they use, and the entry as JSON in its header.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from math import isclose

from pydantic import Field

from analysis.dufm.report import FiniteFloat, Model, References, SolutionStructure, Stationarity

DECAYS = (0.001, 0.004, 0.016)
CLASSES = range(2, 16)
DEPTHS = range(2, 8)
METADATA = "entry"


class CatalogueEntry(Model):
    """The best known solution of one cell."""

    num_classes: int
    depth: int
    decay: FiniteFloat = Field(description="λ̄ = (n λ_H1 Π λ_Wl)^(1/(L+1))")
    loss: FiniteFloat
    fit: FiniteFloat
    regularization: FiniteFloat
    structure: SolutionStructure
    rank: int = Field(
        description="of M_L, the last hidden layer's class means before the ReLU; of the output at depth 1"
    )
    ranks: dict[str, int]
    widths: tuple[int, ...] = Field(description="neurons that it uses: d_1 … d_L; wider networks have it too")
    start: str = Field(description="what the search found it from")
    references: References
    loss_over_dnc: FiniteFloat
    gap: FiniteFloat = Field(description="loss − lower_bound: what is still open")
    stationarity: Stationarity


def entries() -> tuple[CatalogueEntry, ...]:
    """All of them, by decay, classes and depth."""
    return tuple(sorted(_read().values(), key=lambda entry: (entry.decay, entry.num_classes, entry.depth)))


def find(num_classes: int, depth: int, decay: float) -> CatalogueEntry | None:
    """The entry of this cell, if there is one; decays are the same to nine digits.

    >>> find(10, 4, 0.004).loss < 0.0991799
    True
    >>> find(10, 4, 0.005) is None
    True
    """
    for known in DECAYS:
        if isclose(known, decay, rel_tol=1e-9):
            return _read().get((num_classes, depth, known))
    return None


def solution(entry: CatalogueEntry) -> bytes:
    """The file of this entry: H_1, W_1 … W_L in float64."""
    return (_folder() / file_name(entry.num_classes, entry.depth, entry.decay)).read_bytes()


def file_name(num_classes: int, depth: int, decay: float) -> str:
    """Where a cell's file lies.

    >>> file_name(10, 4, 0.004)
    'K10-L4-0.004.safetensors'
    """
    return f"K{num_classes}-L{depth}-{decay:g}.safetensors"


def _folder() -> Traversable:
    return resources.files("analysis.dufm") / "optima"


def forget() -> None:
    """Read the files again when next asked: they have changed."""
    _read.cache_clear()


@cache
def _read() -> dict[tuple[int, int, float], CatalogueEntry]:
    found = (read_entry(file) for file in _folder().iterdir() if file.name.endswith(".safetensors"))
    return {(entry.num_classes, entry.depth, entry.decay): entry for entry in found}


def read_entry(file: Traversable) -> CatalogueEntry:
    """The entry in a file's header: 8 bytes of its length, then JSON, whose `__metadata__` are strings."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return CatalogueEntry.model_validate_json(header["__metadata__"][METADATA])

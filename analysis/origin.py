"""Where the samples of a feature set lie, or what was made of them: what a measurement reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from analysis.classes import ClassCounts, count_classes
from analysis.errors import UndefinedMetric
from analysis.residuals import Residuals
from collapse_client.format import FeatureFile, MomentsFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from analysis.commands import Features

Split = int | None


class Enclosures(Protocol):
    """What comes along with the samples of a layer, in some part of its set."""

    def weights(self, layer: str) -> np.ndarray | None:
        """Matrix applied to the layer's features, (d_out, d_in)."""
        ...

    def biases(self, layer: str) -> np.ndarray | None:
        """Its bias, (d_out,)."""
        ...

    def ood_tiles(self, layer: str, rows: int) -> Iterator[np.ndarray]:
        """Samples of no class, (n ≤ rows, d) at a time."""
        ...


@dataclass(frozen=True)
class Origin:
    """A feature set, as a measurement sees it.

    splits: samples of each class of each split, of the whole set; one split None where none are told apart. samples:
    the files that are looked at sample by sample. moments: what stands in for samples, by split. enclosures: all that
    may hold weights, biases and samples of no class.
    """

    layers: Sequence[str]
    dims: Mapping[str, int]
    splits: Mapping[Split, ClassCounts]
    samples: Sequence[FeatureFile] = ()
    moments: Mapping[Split, Sequence[MomentsFile]] = field(default_factory=dict)
    enclosures: Sequence[Enclosures] = ()
    residuals: Mapping[tuple[str, Split], Residuals | UndefinedMetric] = field(default_factory=dict)
    """of the second pass, by layer and split, where it has been made elsewhere"""

    @classmethod
    def of_files(cls, features: Features) -> Origin:
        """A set that is measured here, from its first file to its last."""
        parts = features.parts
        return cls(
            layers=features.layers,
            dims={name: parts[0].dim(name) for name in features.layers},
            splits=count_classes(parts),
            samples=[part for part in parts if isinstance(part, FeatureFile)],
            moments={None: [part for part in parts if isinstance(part, MomentsFile)]},
            enclosures=parts,
        )

    @property
    def num_rows(self) -> int:
        """Samples in the files; every split reads them all."""
        return sum(part.num_samples for part in self.samples)

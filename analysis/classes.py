"""Which classes there are, and how many samples of each, split by split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from collapse_client.format import FeatureFile, MomentsFile

LABEL_ROWS = 1 << 16

ClassCounts = dict[int, int]
"""Label → number of samples, in ascending order of label."""


def count_classes(parts: Sequence[FeatureFile | MomentsFile]) -> dict[int | None, ClassCounts]:
    """The classes of each split, the smallest split first; one split None, of everything, where none are told apart."""
    counts: dict[int | None, ClassCounts] = {}
    for part in parts:
        for split, labels, samples in _counted(part):
            own = counts.setdefault(split, {})
            for label, count in zip(labels.tolist(), samples.tolist(), strict=True):
                own[label] = own.get(label, 0) + count
    return {split: dict(sorted(own.items())) for split, own in sorted(counts.items(), key=lambda item: item[0] or 0)}


def _counted(part: FeatureFile | MomentsFile) -> Iterator[tuple[int | None, np.ndarray, np.ndarray]]:
    """Split, labels and their numbers of samples, piece by piece."""
    if isinstance(part, MomentsFile):
        yield None, part.classes, part.counts
    elif not part.has_split:
        for labels in part.label_tiles(LABEL_ROWS):
            yield None, *np.unique(labels, return_counts=True)
    else:
        for labels, splits in zip(part.label_tiles(LABEL_ROWS), part.split_tiles(LABEL_ROWS), strict=True):
            for split in np.unique(splits).tolist():
                yield split, *np.unique(labels[splits == split], return_counts=True)

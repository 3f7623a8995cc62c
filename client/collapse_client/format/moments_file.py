"""Reading a moments file: counts, means and scatter of the classes of each layer, in place of samples."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from collapse_client.format.description import MAX_SAMPLES
from collapse_client.format.errors import InvalidFeatures, shown
from collapse_client.format.moments_rules import check_moments
from collapse_client.format.open_file import CHUNK_ITEMS, OpenFile
from collapse_client.format.tensors import TensorFile
from collapse_client.format.vocabulary import holds_moments

Matrix = npt.NDArray[np.float64]


class MomentsFile(OpenFile):
    """An open file of moments.

    `classes` (K,) are the labels of the rows of every tensor below, in any order; `counts` (K,) says how many samples
    each class has, `num_samples` how many all of them have. Both are read and checked when the file is opened.
    """

    VALUES = "means"

    def __init__(self, file: TensorFile) -> None:
        if not holds_moments(file.tensors):
            raise InvalidFeatures(
                "The file holds no moments: open it with `open_features`, or send classes, counts and means."
            )
        check_moments(file.tensors)
        super().__init__(file)
        classes, counts = self._integers("classes"), self._integers("counts")
        _check_classes(classes)
        _check_counts(counts)
        self.classes: npt.NDArray[np.int64] = np.array(classes, np.int64)
        self.counts: npt.NDArray[np.int64] = np.array(counts, np.int64)
        self.num_samples = sum(counts)

    def means(self, layer: str) -> Matrix:
        """Class means relative to `shift`, or absolute where that is None; (K, d)."""
        return self._present("means", layer)

    def shift(self, layer: str) -> Matrix | None:
        """What the means are relative to, (K, d), or None. Not zeros, around which sums would lose their digits."""
        return self._whole(f"shift.{layer}")

    def scatter(self, layer: str) -> Matrix:
        """Σ_i ‖h_i − μ_c‖² of each class, (K,)."""
        return self._present("scatter", layer)

    def scatter_matrix(self, layer: str) -> Matrix | None:
        """Σ_i (h_i − μ_{y_i})(h_i − μ_{y_i})ᵀ over all classes, (d, d), or None."""
        return self._whole(f"scatter_matrix.{layer}")

    def projected_scatter(self, layer: str) -> Matrix | None:
        """M̄SM̄ᵀ, S the scatter matrix and M̄ the class means minus their unweighted mean, (K, K), or None."""
        return self._whole(f"projected_scatter.{layer}")

    def _present(self, kind: str, layer: str) -> Matrix:
        values = self._whole(f"{kind}.{layer}")
        if values is None:
            raise KeyError(layer)
        return values

    def _integers(self, name: str) -> list[int]:
        """Python's own, which do not wrap; the rules have bounded how many there are."""
        return [value for chunk in self._file.chunks(name, CHUNK_ITEMS) for value in chunk.tolist()]


def _check_classes(classes: list[int]) -> None:
    for row, label in enumerate(classes):
        if not 0 <= label < 2**63:
            _fail("classes", f"has {label} in row {row} (counted from 0): labels are from 0 to 2**63 - 1.")
    label, count = Counter(classes).most_common(1)[0]
    if count > 1:
        rows = [row for row, other in enumerate(classes) if other == label]
        _fail("classes", f"has {label} in rows {rows[0]} and {rows[1]} (counted from 0): send each class once.")


def _check_counts(counts: list[int]) -> None:
    for row, count in enumerate(counts):
        if count < 1:
            _fail("counts", f"has {count} in row {row} (counted from 0): leave out classes without samples.")
    if sum(counts) > MAX_SAMPLES:
        _fail("counts", f"has {sum(counts)} samples in total, 2**53 are allowed: are these numbers of samples?")


def _fail(name: str, detail: str) -> None:
    raise InvalidFeatures(f"Tensor {shown(name)} {detail}", tensor=name)

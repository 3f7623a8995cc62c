"""Reading a feature file: labels, features and weights of the layers of a classifier."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from collapse_client.format.errors import InvalidFeatures, shown
from collapse_client.format.open_file import CHUNK_ITEMS, OpenFile
from collapse_client.format.sample_rules import check_samples
from collapse_client.format.tensors import Array, TensorFile
from collapse_client.format.vocabulary import holds_moments

NUMBERS = {
    "labels": "labels are class indices from 0 to 2**63 - 1",
    "split": "splits are numbered from 0 to 2**63 - 1, such as 0 for training and 1 for validation",
}


class FeatureFile(OpenFile):
    """An open file of samples. `has_split`: whether it says which split each sample belongs to."""

    VALUES = "features"

    def __init__(self, file: TensorFile) -> None:
        if holds_moments(file.tensors):
            raise InvalidFeatures(
                "The file holds moments, not samples: open it with `open_features`, or send labels and features."
            )
        check_samples(file.tensors)
        super().__init__(file)
        self.num_samples = self.tensors["labels"].shape[0]
        self.has_split = "split" in self.tensors

    def labels(self) -> npt.NDArray[np.int64]:
        """Class of each sample, (N,). Raises InvalidFeatures for a negative one."""
        labels = np.empty(self.num_samples, np.int64)
        start = 0
        for tile in self.label_tiles(CHUNK_ITEMS):
            labels[start : start + len(tile)] = tile
            start += len(tile)
        return labels

    def label_tiles(self, rows: int) -> Iterator[npt.NDArray[np.int64]]:
        """Classes of consecutive samples, (n ≤ rows,), in step with `tiles`; a negative one raises InvalidFeatures."""
        return self._number_tiles("labels", rows)

    def split_tiles(self, rows: int) -> Iterator[npt.NDArray[np.int64]]:
        """Splits of consecutive samples, likewise; only where the file `has_split`."""
        return self._number_tiles("split", rows)

    def tiles(self, layer: str, rows: int) -> Iterator[Array]:
        """Features of consecutive samples: (n ≤ rows, dim), C-contiguous, native byte order, trailing axes flattened.

        float16, float32 and float64 as stored; bfloat16 as float32.
        """
        return self._tiles(f"features.{layer}", rows)

    def _number_tiles(self, name: str, rows: int) -> Iterator[npt.NDArray[np.int64]]:
        start = 0
        for stored in self._file.chunks(name, rows):
            numbers = stored.astype(np.int64, copy=False)
            # A uint64 beyond int64 wraps to a negative number, so that one look finds both.
            wrong = numbers < 0
            if wrong.any():
                index = int(wrong.argmax())
                raise InvalidFeatures(
                    f"Tensor {shown(name)} has {stored[index]} in row {start + index} (counted from 0): "
                    f"{NUMBERS[name]}.",
                    tensor=name,
                )
            yield numbers
            start += len(numbers)

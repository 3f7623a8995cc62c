"""Moments mode: counts, means and scatter of each layer, accumulated where the features are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from collapse_client.format.moments import Deviations, Moments
from collapse_client.format.moments_writer import write_moments
from collapse_client.recording.applied import Applied
from collapse_client.recording.ranks import Ranks
from collapse_client.recording.samples import Batch, Submit
from collapse_client.recording.spool import Manifest
from collapse_client.recording.step_writer import StepWriter

State = dict[str, dict[str, Any]]
"""By layer: counts, means, shift, scatter, scatter_matrix (or None), on the CPU."""

GATHERED_ROWS = 128
"""Samples that are taken in at once: with fewer the calls cost more than the sums, more overflow the caches."""
GATHERED_BYTES = 2**24


class MomentsStep:
    """The moments of one step, merged on the first rank, which has them written."""

    def __init__(self, writer: StepWriter, submit: Submit, *, second_moments: str, deviations: Deviations) -> None:
        self._writer, self._submit = writer, submit
        self._layers = MomentsOfLayers(second_moments=second_moments, deviations=deviations)

    def add(self, features: Mapping[str, Tensor], labels: Tensor) -> None:
        """Take in a batch; nothing of its memory is kept."""
        self._layers.add(features, labels)

    def finish(self, applied: Applied, ranks: Ranks, manifest: Manifest) -> None:
        """Merge, and have the step written and sent."""
        # A rank whose recording has failed has something to tell as well: that there is nothing.
        states = ranks.gather({} if self._writer.failed else self._layers.state())

        def write(path: Path) -> bool:
            moments = merged(states)
            if moments:
                classes = range(len(next(iter(moments.values())).counts))
                write_moments(path, classes=classes, moments=moments, weights=applied.weights, biases=applied.biases)
            return bool(moments)

        if ranks.receives:
            self._submit(lambda: self._writer.write(write))
            self._submit(lambda: self._writer.finish(manifest))


class MomentsOfLayers:
    """The moments of every layer over the batches of a step, summed in float64 whatever the features."""

    def __init__(self, *, second_moments: str, deviations: Deviations) -> None:
        self._second_moments, self._deviations, self._exact = second_moments, deviations, Deviations()
        self._moments: dict[str, Moments] = {}
        self._batches: list[Batch] = []
        self._rows = self._bytes = self._num_classes = 0

    def add(self, features: Mapping[str, Tensor], labels: Tensor) -> None:
        """Take in a batch; nothing of its memory is kept."""
        self._rows += len(labels)
        self._bytes += sum(value.numel() * value.element_size() for value in features.values())
        if self._rows >= GATHERED_ROWS or self._bytes >= GATHERED_BYTES:
            self._batches.append((features, labels))
            self._take_in()
        else:
            self._batches.append(({layer: value.clone() for layer, value in features.items()}, labels))

    def state(self) -> State:
        """Return what has come, for `merged`; empty where nothing has."""
        if self._batches:
            self._take_in()
        return {layer: _state(moments) for layer, moments in self._moments.items()}

    def _take_in(self) -> None:
        batches, self._batches, self._rows, self._bytes = self._batches, [], 0, 0
        # Ours are ordinary tensors, whatever kind the training makes.
        with torch.inference_mode(False), torch.no_grad():
            labels = _joined([of_batch for _, of_batch in batches])
            smallest, largest = (int(extreme) for extreme in torch.aminmax(labels))
            if largest < 0:
                return
            known = labels >= 0 if smallest < 0 else None
            indices = labels if known is None else labels[known]
            self._num_classes = max(self._num_classes, largest + 1)
            counts = torch.bincount(indices, minlength=self._num_classes)
            for layer in batches[0][0]:
                values = _joined([features[layer] for features, _ in batches])
                if known is not None:
                    values = values[known.to(values.device)]
                self._of(layer, values).add(values, indices.to(values.device), counts.to(values.device))

    def _of(self, layer: str, values: Tensor) -> Moments:
        """The moments of a layer, with room for all classes that were seen."""
        moments = self._moments.get(layer)
        if moments is None:
            moments = self._moments[layer] = Moments(
                num_classes=self._num_classes,
                dim=values.shape[1],
                second_moments=self._second_moments,
                # Features are float32 at best in most trainings: differences of them need not be finer.
                deviations=self._exact if values.dtype == torch.float64 else self._deviations,
                device=values.device,
            )
        return with_classes(moments, self._num_classes)


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


def with_classes(moments: Moments, num_classes: int) -> Moments:
    """Give moments room for at least so many classes; of the new ones no sample has been seen.

    >>> with_classes(Moments(num_classes=1, dim=2), 3).counts.tolist()
    [0, 0, 0]
    """
    more = num_classes - len(moments.counts)
    if more > 0:
        moments.counts = torch.nn.functional.pad(moments.counts, (0, more))
        moments.squares = torch.nn.functional.pad(moments.squares, (0, more))
        moments.shift = torch.nn.functional.pad(moments.shift, (0, 0, 0, more))
        moments.sums = torch.nn.functional.pad(moments.sums, (0, 0, 0, more))
    return moments


def merged(states: Sequence[State]) -> dict[str, Moments]:
    """Merge what several processes have seen of the same layers."""
    found: dict[str, Moments] = {}
    for state in states:
        for layer, tensors in state.items():
            theirs = Moments.of(**tensors)
            mine = found.setdefault(layer, theirs)
            if mine is not theirs:
                num_classes = max(len(mine.counts), len(theirs.counts))
                with_classes(mine, num_classes).merge(with_classes(theirs, num_classes))
    return found


def _state(moments: Moments) -> dict[str, Any]:
    matrix = moments.scatter_matrix
    return {
        "counts": moments.counts.cpu(),
        "means": moments.offsets.cpu(),
        "shift": moments.shift.cpu(),
        "scatter": moments.scatter.cpu(),
        "scatter_matrix": None if matrix is None else matrix.cpu(),
    }

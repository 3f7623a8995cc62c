"""Moments mode: counts, means and scatter of each layer, accumulated where the features are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from collapse_client.format.moments import Deviations, Moments, add_by_class
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
SETTLED_ROWS = 1024
"""Samples after which sums of float32 go to float64. One of n deviations is off by √n · 1e-8 of their size, some 3e-7,
and what comes of further ones averages out; below float32 features, whose own roundings are 6e-8, no digit counts."""


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
    """The moments of every layer over the batches of a step, summed in float64 whatever the features.

    All layers see every batch: what has to do with the labels alone is done once for all of them.
    """

    def __init__(self, *, second_moments: str, deviations: Deviations) -> None:
        self._second_moments, self._deviations, self._exact = second_moments, deviations, Deviations()
        self._layers: dict[str, _Layer] = {}
        self._counts: dict[torch.device, Tensor] = {}
        self._batches: list[Batch] = []
        self._indices: list[Tensor] = []
        self._rows = self._bytes = self._num_classes = self._unsettled = 0

    def add(self, features: Mapping[str, Tensor], labels: Tensor) -> None:
        """Take in a batch; nothing of its memory is kept."""
        self._rows += labels.shape[0]
        if self._rows < GATHERED_ROWS:
            self._bytes += sum(value.numel() * value.element_size() for value in features.values())
            if self._bytes < GATHERED_BYTES:
                self._batches.append(({layer: value.clone() for layer, value in features.items()}, labels))
                return
        self._batches.append((features, labels))
        self._take_in()

    def state(self) -> State:
        """Return what has come, for `merged`; empty where nothing has."""
        if self._batches:
            self._take_in()
        self._settle()
        return {name: _state(layer.moments) for name, layer in self._layers.items()}

    def _take_in(self) -> None:
        batches, self._batches, self._rows, self._bytes = self._batches, [], 0, 0
        # Ours are ordinary tensors, whatever kind the training makes.
        with torch.inference_mode(False), torch.no_grad():
            labels = _joined([of_batch for _, of_batch in batches])
            known = labels >= 0 if int(labels.min()) < 0 else None
            indices = labels if known is None else labels[known]
            num_rows = indices.shape[0]
            if not num_rows:
                return
            counts = torch.bincount(indices, minlength=self._num_classes)
            if counts.shape[0] > self._num_classes:
                self._make_room(counts.shape[0])
            there = {labels.device: indices}
            for name in batches[0][0]:
                values = _joined([features[name] for features, _ in batches])
                if known is not None:
                    values = values[known.to(values.device)]
                layer = self._layers.get(name) or self._begin(name, values)
                own = there.get(values.device)
                if own is None:
                    own = there[values.device] = indices.to(values.device)
                layer.add(values, own)
            for device, total in self._counts.items():  # not before: a class without samples has no shift
                total += counts.to(device)
            self._indices.append(indices)
            self._unsettled += num_rows
            if self._unsettled >= SETTLED_ROWS:
                self._settle()

    def _settle(self) -> None:
        if self._indices:
            indices, self._indices, self._unsettled = _joined(self._indices), [], 0
            with torch.inference_mode(False), torch.no_grad():
                for layer in self._layers.values():
                    layer.settle(indices)

    def _make_room(self, num_classes: int) -> None:
        """For classes that have not been seen so far."""
        self._settle()
        more, self._num_classes = num_classes - self._num_classes, num_classes
        self._counts = {device: torch.nn.functional.pad(counts, (0, more)) for device, counts in self._counts.items()}
        for layer in self._layers.values():
            with_classes(layer.moments, num_classes).counts = self._counts[layer.moments.shift.device]

    def _begin(self, name: str, values: Tensor) -> _Layer:
        moments = Moments(
            num_classes=self._num_classes,
            dim=values.shape[1],
            second_moments=self._second_moments,
            # Features are float32 at best in most trainings: differences of them need not be finer.
            deviations=self._exact if values.dtype == torch.float64 else self._deviations,
            device=values.device,
        )
        moments.counts = self._counts.setdefault(values.device, moments.counts)
        return self._layers.setdefault(name, _Layer(moments))


class _Layer:
    """Moments, and apart from them the sums of the last batches, in the precision of their deviations.

    The calls for a small batch cost as much as its arithmetic: what goes to float64 does so for several at once. Layers
    side by side in one tensor would save calls, and cost more than that: the tensor does not fit into a core's cache.
    """

    def __init__(self, moments: Moments) -> None:
        self.moments = moments
        self._sums = torch.empty(0)
        self._norms: list[Tensor] = []

    def add(self, features: Tensor, indices: Tensor) -> None:
        """Take in a batch without negative labels, but for its counts."""
        relative = self.moments.relative(features, indices)
        if not self._norms:
            self._sums = torch.zeros_like(self.moments.sums, dtype=relative.dtype)
        add_by_class(self._sums, relative, indices)
        self._norms.append(torch.linalg.vector_norm(relative, dim=1))
        if self.moments.products is not None:
            self.moments.products.add(relative.double())

    def settle(self, indices: Tensor) -> None:
        """Add to the moments what came since the last time, of samples of these classes."""
        self.moments.sums += self._sums
        self.moments.add_squares(_joined(self._norms), indices.to(self._sums.device))
        self._norms.clear()


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

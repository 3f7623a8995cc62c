"""Moments mode: counts, means and scatter of each layer, accumulated where the features are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from collapse_client.format.moments import Deviations, GramSum, Moments, add_by_class
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
    """The moments of every layer over the batches of a step, summed in float64 whatever the features."""

    def __init__(self, *, second_moments: str, deviations: Deviations) -> None:
        self._second_moments, self._deviations, self._exact = second_moments, deviations, Deviations()
        self._blocks: dict[tuple[str, ...], _Block] = {}
        self._order: dict[str, None] = {}
        self._batches: list[Batch] = []
        self._indices: list[Tensor] = []
        self._rows = self._bytes = self._num_classes = self._unsettled = 0

    def add(self, features: Mapping[str, Tensor], labels: Tensor) -> None:
        """Take in a batch; nothing of its memory is kept."""
        self._rows += len(labels)
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
        found: dict[str, Moments] = {}
        for name, moments in (pair for block in self._blocks.values() for pair in block.moments()):
            if found.setdefault(name, moments) is not moments:  # it has not always run together with the same others
                found[name].merge(moments)
        return {name: _state(found[name]) for name in self._order}

    def _take_in(self) -> None:
        batches, self._batches, self._rows, self._bytes = self._batches, [], 0, 0
        # Ours are ordinary tensors, whatever kind the training makes.
        with torch.inference_mode(False), torch.no_grad():
            labels = _joined([of_batch for _, of_batch in batches])
            known = labels >= 0 if int(labels.min()) < 0 else None
            indices = labels if known is None else labels[known]
            if not len(indices):
                return
            counts = torch.bincount(indices, minlength=self._num_classes)
            if len(counts) > self._num_classes:
                self._make_room(len(counts))
            self._order.update(dict.fromkeys(batches[0][0]))
            for names in _alike(batches[0][0]):
                values = [_joined([features[name] for features, _ in batches]) for name in names]
                if known is not None:
                    values = [value[known.to(value.device)] for value in values]
                device = values[0].device
                block = self._blocks.get(names) or self._begin(names, values)
                block.add(values, indices.to(device), counts.to(device))
            self._indices.append(indices)
            self._unsettled += len(indices)
            if self._unsettled >= SETTLED_ROWS:
                self._settle()

    def _settle(self) -> None:
        if self._indices:
            indices, self._indices, self._unsettled = _joined(self._indices), [], 0
            with torch.inference_mode(False), torch.no_grad():
                for block in self._blocks.values():
                    block.settle(indices)

    def _make_room(self, num_classes: int) -> None:
        """For classes that have not been seen so far."""
        self._settle()
        self._num_classes = num_classes
        for block in self._blocks.values():
            block.make_room(num_classes)

    def _begin(self, names: tuple[str, ...], values: Sequence[Tensor]) -> _Block:
        # Features are float32 at best in most trainings: differences of them need not be finer.
        deviations = self._exact if values[0].dtype == torch.float64 else self._deviations
        block = _Block(
            {name: values[index].shape[1] for index, name in enumerate(names)},
            Moments(
                num_classes=self._num_classes,
                dim=sum(value.shape[1] for value in values),
                deviations=deviations,
                device=values[0].device,
            ),
            second_moments=self._second_moments,
        )
        return self._blocks.setdefault(names, block)


def _alike(features: Mapping[str, Tensor]) -> list[tuple[str, ...]]:
    """Names of the layers that can lie side by side in one tensor: of one dtype, on one device."""
    groups: dict[tuple[torch.dtype, torch.device], list[str]] = {}
    for name, value in features.items():
        groups.setdefault((value.dtype, value.device), []).append(name)
    return [tuple(names) for names in groups.values()]


class _Block:
    """Moments of several layers side by side, and apart from them the sums of the last batches in their precision.

    The calls for a small batch cost as much as its arithmetic: one call serves all layers, and what goes to float64
    does so for several batches at once.
    """

    def __init__(self, dims: Mapping[str, int], together: Moments, *, second_moments: str) -> None:
        self._dims, self._together = dims, together
        self._places: dict[str, slice] = {}
        start = 0
        for name, dim in dims.items():
            self._places[name] = slice(start, start + dim)
            start += dim
        device, matrix = together.shift.device, second_moments == "matrix"
        self._products = {name: GramSum(dim, device=device) for name, dim in dims.items()} if matrix else {}
        self._squares = together.shift.new_zeros(len(together.counts), len(dims))
        self._sums = torch.empty(0)
        self._norms: list[Tensor] = []

    def add(self, features: Sequence[Tensor], indices: Tensor, counts: Tensor) -> None:
        """Take in a batch without negative labels."""
        together = features[0] if len(features) == 1 else torch.cat(list(features), dim=1)
        relative = self._together.relative(together, indices)
        self._together.counts += counts
        if not self._norms:
            self._sums = torch.zeros_like(self._together.sums, dtype=relative.dtype)
        add_by_class(self._sums, relative, indices)
        self._norms.append(self._norms_of(relative))
        for name, products in self._products.items():
            products.add(relative[:, self._places[name]].double())

    def _norms_of(self, relative: Tensor) -> Tensor:
        """Of each sample in each layer, (n, layers)."""
        if len(set(self._dims.values())) == 1:
            norms: Tensor = torch.linalg.vector_norm(relative.view(len(relative), len(self._dims), -1), dim=2)
            return norms
        return torch.stack(
            [torch.linalg.vector_norm(relative[:, place], dim=1) for place in self._places.values()], dim=1
        )

    def settle(self, indices: Tensor) -> None:
        """Add to the moments what came since the last time, of samples of these classes."""
        if self._norms:
            self._together.sums += self._sums
            add_by_class(self._squares, _joined(self._norms).double().square_(), indices.to(self._squares.device))
            self._norms.clear()

    def make_room(self, num_classes: int) -> None:
        """For more classes."""
        with_classes(self._together, num_classes)
        self._squares = torch.nn.functional.pad(self._squares, (0, 0, 0, num_classes - len(self._squares)))

    def moments(self) -> Iterator[tuple[str, Moments]]:
        """Those of each layer."""
        whole = self._together
        for index, (name, place) in enumerate(self._places.items()):
            own = Moments(num_classes=len(whole.counts), dim=self._dims[name], device=whole.shift.device)
            own.counts, own.squares, own.products = whole.counts, self._squares[:, index], self._products.get(name)
            own.shift, own.sums = whole.shift[:, place], whole.sums[:, place]
            yield name, own


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

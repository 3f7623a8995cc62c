"""Forward hooks: what the layers make of a batch, and which linear layer is applied to it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional, Union

import torch
from torch import Tensor, nn

from collapse_client.recording.errors import RecordingError
from collapse_client.recording.pooling import Pool, first_tensor

COMPARED_ROWS = 8
"""Samples by which a linear layer's input is recognised: 8 rows of a layer do not agree by chance."""


class Capture:
    """What the chosen layers gave, or were given, in the last forward pass; hooks are there between attach and detach.

    A module that is called several times in a forward pass counts with its last call. Passes that gradient
    checkpointing repeats during the backward pass are not looked at.

    With `keeps` the values are copies on the CPU; else they are good until the next forward pass, and copies only for
    layers whose output has been seen to change in place, by a ReLU after them.

    `weights_of` has, for a layer, the first linear layer in whose input the features of that layer were found: as they
    are, flattened, mean-pooled or after dropout. With at="input" a linear layer has its own.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        *,
        model: nn.Module,
        at: str,
        pool: Pool,
        on_error: Callable[[Exception], None],
        keeps: bool,
    ) -> None:
        self.values: dict[str, Tensor] = {}
        self.weights_of: dict[str, nn.Module] = {}
        self.devices: set[torch.device] = set()
        """from which copies have been begun"""
        self.paused = False
        self._layers, self._model, self._at, self._pool = layers, model, at, pool
        self._on_error, self._keeps, self._process = on_error, keeps, os.getpid()
        self._versions: dict[str, tuple[Tensor, int]] = {}
        self._steady: set[str] = set()
        self._handles: list[Any] = []
        self._search: list[Any] = []

    def attach(self) -> None:
        """Put the hooks in place."""
        for name, module in self._layers.items():
            if self._at == "output":
                handle = module.register_forward_hook(Hook(self._take_output, name))
            else:
                handle = module.register_forward_pre_hook(Hook(self._take_input, name), with_kwargs=True)
                if isinstance(module, nn.Linear):
                    self.weights_of[name] = module
            self._handles.append(handle)
        if self._at == "output":
            linear = (module for module in self._model.modules() if isinstance(module, nn.Linear))
            self._search = [
                module.register_forward_pre_hook(Hook(self._compare, module), with_kwargs=True) for module in linear
            ]

    def detach(self) -> None:
        """Take the hooks away."""
        self.stop_search()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.values.clear()
        self._versions.clear()

    def stop_search(self) -> None:
        """Look no longer for linear layers: one batch tells."""
        for handle in self._search:
            handle.remove()
        self._search.clear()

    def take_values(self) -> dict[str, Tensor]:
        """Return what has come since the last call, in the order in which it came."""
        values, self.values = self.values, {}
        versions, self._versions = self._versions, {}
        for name, (tensor, version) in versions.items():
            if tensor._version == version:
                self._steady.add(name)
            elif name in self._steady:  # not so far, and what it was is lost
                self._steady.discard(name)
                values.pop(name)
        return values

    def _take_output(self, name: str, arguments: tuple[Any, ...]) -> None:
        self._take(name, arguments[-1])

    def _take_input(self, name: str, arguments: tuple[Any, ...]) -> None:
        _, args, kwargs = arguments
        self._take(name, (args, kwargs))

    def _take(self, name: str, value: object) -> None:
        if self._looks_away():
            return
        try:
            tensor = first_tensor(value)
            if tensor is None:
                raise RecordingError(
                    f"The {self._at} of {name} has no floating tensor of two axes or more: record another layer."
                )
            original = tensor.detach()
            self.values.pop(name, None)  # so that the order is that of the last calls
            self.values[name] = self._copied(name, self._pool(original), original)
        except Exception as error:
            self._on_error(error)

    def _copied(self, name: str, pooled: Tensor, original: Tensor) -> Tensor:
        """Copy what a layer after this one may change in place. From a GPU without waiting for it."""
        if self._keeps and pooled.is_cuda:
            self.devices.add(pooled.device)
            memory = torch.empty(pooled.shape, dtype=pooled.dtype, device="cpu", pin_memory=True)
            return memory.copy_(pooled, non_blocking=True)
        if self._keeps and pooled.device.type != "cpu":
            return pooled.cpu()
        if pooled is not original and pooled.untyped_storage().data_ptr() != original.untyped_storage().data_ptr():
            return pooled
        if not self._keeps and not pooled.is_inference():
            self._versions[name] = (pooled, pooled._version)
            if name in self._steady:
                return pooled
        return pooled.clone(memory_format=torch.contiguous_format)

    def _compare(self, linear: nn.Linear, arguments: tuple[Any, ...]) -> None:
        if self._looks_away():
            return
        try:
            _, args, kwargs = arguments
            given = first_tensor((args, kwargs))
            if given is not None:
                rows = given.detach().reshape(-1, given.shape[-1])
                for name, value in self.values.items():
                    if name not in self.weights_of and any(passed_on(form, rows) for form in _forms(value)):
                        self.weights_of[name] = linear
        except Exception as error:
            self._on_error(error)

    def _looks_away(self) -> bool:
        # A data loader's process that was forked with these hooks in place has nobody to send anything.
        return self.paused or os.getpid() != self._process or in_backward()


class Hook:
    """A hook that calls `take(of, arguments)`. Copies of a model (averaging, checkpoints) get one that does nothing."""

    def __init__(self, take: Callable[[Any, tuple[Any, ...]], None], of: Union[str, nn.Module]) -> None:
        self._take, self._of = take, of

    def __call__(self, *arguments: Any) -> None:
        """As torch calls it: the module, its arguments, and its output if that is there."""
        self._take(self._of, arguments)

    def __reduce__(self) -> Any:
        return _inert, ()


def _inert() -> Callable[..., None]:
    return _do_nothing


def _do_nothing(*_: object) -> None:
    """What is left of a hook in a copy of the model."""


def passed_on(features: Tensor, given: Tensor) -> bool:
    """Whether a linear layer is given these features, (n, d) both: as they are, or after dropout.

    Dropout leaves some at 0 and multiplies the others by one factor above 1; a ReLU, which is not looked for, leaves
    0 for all that are negative and multiplies by 1.

    >>> features = torch.tensor([[1.0, -2.0, 3.0, 4.0]])
    >>> passed_on(features, features), passed_on(features, features.relu())
    (True, False)
    >>> passed_on(features, torch.tensor([[2.0, -4.0, 0.0, 8.0]]))
    True
    """
    if features.shape != given.shape or not len(features):
        return False
    features, given = features[:COMPARED_ROWS].to(given.device).double(), given[:COMPARED_ROWS].double()
    if torch.allclose(features, given, rtol=1e-3, atol=0):
        return bool((features != 0).any())
    kept = given != 0
    if not bool(kept.any()):
        return False
    factors = given[kept] / features[kept]
    return bool(factors.min() > 1) and bool(factors.max() <= factors.min() * 1.01)


def _forms(value: Tensor) -> Iterable[Tensor]:
    """The ways in which a linear layer may see features: one row a sample, or one row a position."""
    yield value.flatten(1)
    if value.ndim > 2:
        yield value.flatten(0, -2)


def in_backward() -> bool:
    """Whether a backward pass is going on in this thread."""
    current: Optional[Callable[[], int]] = getattr(torch._C, "_current_graph_task_id", None)
    return current is not None and current() != -1

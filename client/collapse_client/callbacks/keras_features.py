"""What the layers of a Keras model make of a batch, with any backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Callable, Union

import keras
import numpy as np

from collapse_client.callbacks.batches import Array
from collapse_client.recording.errors import RecordingError

Pool = Union[str, Callable[[Array], Array]]
COMPARED_ROWS = 8
"""Samples by which the input of a Dense layer is recognised: 8 rows of a layer do not agree by chance."""


def named_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Every layer that computes something, also within layers and models: block/dense. Of equal names, the first."""
    found: dict[str, keras.layers.Layer] = {}

    def add(layer: keras.layers.Layer, before: str) -> None:
        # The one way to the layers within a layer; `Model.layers` is the same, for models alone.
        for inner in layer._flatten_layers(include_self=False, recursive=False):
            name = before + inner.name
            if not isinstance(inner, keras.layers.InputLayer):
                found.setdefault(name, inner)
            add(inner, f"{name}/")

    add(model, "")
    return found


def select(model: keras.Model, patterns: Sequence[str]) -> dict[str, keras.layers.Layer]:
    """Return the layers whose names match one of the patterns; raises RecordingError, with the names that there are."""
    if isinstance(patterns, str):
        raise RecordingError(f"layers must be a list of names or patterns, such as [{patterns!r}]")
    layers = named_layers(model)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in layers):
            raise RecordingError(f"No layer matches {pattern!r}; there are: {', '.join(layers)}")
    return {name: layer for name, layer in layers.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}


class LayerOutputs:
    """Runs a model as in inference and gives the features of the chosen layers, one row a sample.

    A layer's `call` is replaced while a batch is run and put back after it: Keras has no hooks, and a model of outputs
    of layers can only be had of models that are graphs. A layer that is called several times counts with its last call.

    `dense_of` has, for a layer, the first Dense layer in whose input its features were found, as they are or flattened.
    """

    def __init__(self, model: keras.Model, layers: Mapping[str, keras.layers.Layer], pool: Pool) -> None:
        if not callable(pool) and pool not in ("flatten", "mean"):
            raise RecordingError(f"pool must be 'flatten', 'mean' or a function of an array, not {pool!r}")
        self.dense_of: dict[str, keras.layers.Dense] = {}
        self._model, self._layers, self._pool = model, layers, pool
        self._dense = [layer for layer in named_layers(model).values() if isinstance(layer, keras.layers.Dense)]
        self._values: dict[str, Array] = {}
        self._search = True

    def of(self, inputs: Any) -> dict[str, Array]:
        """Run a batch; return (n, d) by layer, in the order in which they ran. Raises RecordingError."""
        self._values = {}
        with ExitStack() as wrapped:
            for name, layer in self._layers.items():
                wrapped.enter_context(_calling(layer, after=partial(self._take, name, layer)))
            for dense in self._dense if self._search else ():
                wrapped.enter_context(_calling(dense, before=partial(self._compare, dense)))
            with _no_gradients():
                self._model(inputs, training=False)
        self._search = False
        missing = [name for name in self._layers if name not in self._values]
        if missing:
            raise RecordingError(f"Layers that the model did not run: {', '.join(missing)}.")
        return {name: _rows(value) for name, value in self._values.items()}

    def applied(self) -> dict[str, Array]:
        """The weights (d_out, d) and biases (d_out,) that are applied to the features, by their names in a file."""
        found = {}
        for name, dense in self.dense_of.items():
            found[f"weights.{name}"] = np.ascontiguousarray(_array(dense.kernel).T)
            if dense.use_bias:
                found[f"biases.{name}"] = _array(dense.bias)
        return found

    def _take(self, name: str, layer: keras.layers.Layer, output: Any) -> None:
        value = _first_floating(output)
        if value is None:
            raise RecordingError(f"The output of {name} has no floating tensor of two axes or more: record another.")
        self._values.pop(name, None)  # so that the order is that of the last calls
        self._values[name] = self._pooled(_array(value), layer)

    def _pooled(self, values: Array, layer: keras.layers.Layer) -> Array:
        if callable(self._pool):
            return self._pool(values)
        if self._pool == "flatten" or values.ndim < 3:
            return values
        placed = getattr(layer, "data_format", None)
        if placed is None:  # three axes are then (batch, time, dim)
            placed = keras.config.image_data_format() if values.ndim > 3 else "channels_last"
        inner = range(2, values.ndim) if placed == "channels_first" else range(1, values.ndim - 1)
        return np.asarray(values.mean(axis=tuple(inner), dtype=np.float32))

    def _compare(self, dense: keras.layers.Dense, inputs: Any) -> None:
        given = _array(inputs)[:COMPARED_ROWS]
        for name, value in self._values.items():
            if name not in self.dense_of and given.ndim == 2 and np.array_equal(_rows(value)[:COMPARED_ROWS], given):
                self.dense_of[name] = dense


@contextmanager
def _calling(
    layer: keras.layers.Layer,
    before: Callable[[Any], None] = lambda _: None,
    after: Callable[[Any], None] = lambda _: None,
) -> Iterator[None]:
    """Call `before` with the first argument of a layer's calls, and `after` with what it gives."""
    own, original = vars(layer).get("call"), layer.call

    def call(*arguments: Any, **named: Any) -> Any:
        before(arguments[0] if arguments else next(iter(named.values())))
        output = original(*arguments, **named)
        after(output)
        return output

    # Not by setattr, with which Keras and its backends track what a layer has.
    vars(layer)["call"] = call
    try:
        yield
    finally:
        if own is None:
            del vars(layer)["call"]
        else:
            vars(layer)["call"] = own


def _no_gradients() -> Any:
    if keras.backend.backend() != "torch":
        return nullcontext()  # the others keep nothing outside of their own tapes
    import torch

    return torch.no_grad()


def _first_floating(output: Any) -> Any:
    for value in keras.tree.flatten(output):
        if len(getattr(value, "shape", ())) >= 2 and "float" in keras.backend.standardize_dtype(value.dtype):
            return value
    return None


def _array(value: Any) -> Array:
    array = np.asarray(keras.ops.convert_to_numpy(value))
    return array if array.dtype in (np.float16, np.float32, np.float64) else array.astype(np.float32)


def _rows(values: Array) -> Array:
    return values.reshape(len(values), -1)

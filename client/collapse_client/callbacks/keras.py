"""Keras 3, with any backend.

callback = KerasCallback(["dense_1", "block_*"], (x_train, y_train), run="convnet")
model.fit(x_train, y_train, epochs=10, callbacks=[callback])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np

from collapse_client.callbacks.array_recorder import ArrayRecorder, Batch
from collapse_client.callbacks.batches import batches_of, class_labels
from collapse_client.callbacks.schedule import Schedule
from collapse_client.errors import MissingLibrary

try:
    import keras
except ImportError as error:
    raise MissingLibrary("Keras", extra="keras") from error

from collapse_client.callbacks.keras_features import LayerOutputs, Pool, select


class KerasCallback(keras.callbacks.Callback):
    """Records every n-th epoch, or batch, of `Model.fit`: a pass over `samples`, as in inference.

    layers: names of layers or patterns of them; those within a layer or a model are called block/dense. Give your
    layers names: those that Keras gives count on from one model to the next. samples: arrays (x, y), or what gives such
    batches (a Dataset, a PyDataset, a DataLoader); compiled training steps keep their own batches to themselves. y:
    integers, or one-hot. pool: "flatten", "mean" (over the axes of space or time), or a function of the array.
    max_samples: of a step. run, and `options`: as the ArrayRecorder takes them.

    With a layer's features go the weights and biases of the first Dense layer that they are put into. Epochs count from
    0; every_n_epochs=5 records 4, 9, … Steps are the batches since `fit` was called for the first time. Nothing that
    goes wrong in here ends a training.

    Raises RecordingError, when training begins, for layers that there are not.
    """

    def __init__(
        self,
        layers: Sequence[str],
        samples: Any,
        *,
        run: str,
        every_n_epochs: Optional[int] = None,
        every_n_steps: Optional[int] = None,
        batch_size: int = 128,
        max_samples: Optional[int] = None,
        pool: Pool = "flatten",
        **options: Any,
    ) -> None:
        super().__init__()
        self._layers, self._samples, self._pool = layers, samples, pool
        self._batch_size, self._max_samples = batch_size, max_samples
        self._schedule = Schedule(every_n_epochs, every_n_steps)
        self._run, self._options = run, options
        self._step = 0
        self.recorder: Optional[ArrayRecorder] = None
        """Of the training that goes on, or was the last."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin."""
        select(self.model, self._layers)
        if self.recorder is not None:
            self.recorder.close()
        self.recorder = ArrayRecorder(run=self._run, **self._options)
        self._schedule.begin(self._step)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Record a step."""
        self._step += 1
        if self._schedule.reached(self._step):
            self._record(self._step)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Record an epoch."""
        if self._schedule.is_epoch(epoch):
            self._record(epoch)

    def on_train_end(self, logs: Any = None) -> None:
        """Send what is left."""
        if self.recorder is not None:
            self.recorder.close()

    def _record(self, step: int) -> None:
        if self.recorder is None:
            return
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()  # with JAX the weights are elsewhere while an epoch goes on
        try:
            outputs = LayerOutputs(self.model, select(self.model, self._layers), self._pool)
            self.recorder.record(step, self._batches(outputs), outputs.applied)
        except Exception as error:
            self.recorder.troubles.tell("layers", f"Step {step} is not recorded: {error}")

    def _batches(self, outputs: LayerOutputs) -> Iterator[Batch]:
        seen = 0
        for inputs, labels in batches_of(self._samples, self._batch_size):
            if self._max_samples is not None and seen >= self._max_samples:
                return
            classes = class_labels(np.asarray(keras.ops.convert_to_numpy(labels)))
            yield outputs.of(inputs), classes
            seen += len(classes)

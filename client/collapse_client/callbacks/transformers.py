"""Hugging Face's Trainer.

callback = TransformersCallback(["classifier.dense"], run="bert", every_n_steps=100)
Trainer(model, arguments, train_dataset=texts, callbacks=[callback]).train()
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional

from torch import nn

from collapse_client.callbacks.schedule import Schedule
from collapse_client.callbacks.session import Session, labels_of
from collapse_client.errors import MissingLibrary
from collapse_client.recording.capture import Hook
from collapse_client.recording.recorder import Recorder
from collapse_client.recording.selection import unwrapped

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise MissingLibrary("transformers", extra="transformers") from error

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments


class TransformersCallback(TrainerCallback):
    """Records every n-th epoch, or step of the optimizer, of `Trainer.train`.

    layers: names or patterns of modules, as the model has them. run, and `options`: as the Recorder takes them; of
    features (N, T, dim) `pool` "mean" takes the mean over the sequence, and a function what you like, such as
    `lambda hidden: hidden[:, 0]`. Without `loader`, what is recorded are the training batches as they come, of a whole
    epoch or of that step; `labels` finds the labels in the model's arguments (by name), else it is the one called
    labels. Where the Trainer keeps them from the model (label smoothing, a loss function of your own), give a `loader`:
    then it is a pass over that, of batches as the model takes them, in eval mode, at the end of the epoch or after the
    step.

    Epochs count from 0: every_n_epochs=5 records 4, 9, … Steps are the Trainer's `global_step`. Nothing that goes wrong
    in here ends a training.

    Raises RecordingError, when training begins, for layers that there are not.
    """

    def __init__(
        self,
        layers: Sequence[str],
        *,
        run: str,
        loader: Optional[Iterable[Any]] = None,
        every_n_epochs: Optional[int] = None,
        every_n_steps: Optional[int] = None,
        labels: Callable[[Mapping[str, Any]], Any] = labels_of,
        **options: Any,
    ) -> None:
        self._layers, self._run, self._options = layers, run, options
        self._loader, self._labels = loader, labels
        self._schedule = Schedule(every_n_epochs, every_n_steps)
        self._session: Optional[Session] = None
        self._model: Optional[nn.Module] = None
        self._hook: Any = None
        self._epoch = 0

    @property
    def recorder(self) -> Optional[Recorder]:
        """The Recorder of the training that goes on, or was the last."""
        return None if self._session is None else self._session.recorder

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Begin."""
        self._close()
        self._model = unwrapped(others["model"])
        self._session = Session(Recorder(self._model, self._layers, run=self._run, **self._options))
        self._schedule.begin(state.global_step)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Begin to record the batches of an epoch."""
        self._epoch = math.floor((state.epoch or 0.0) + 1e-6)
        if self._loader is None and self._schedule.is_epoch(self._epoch):
            self._begin(self._epoch)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Begin to record the batches of a step: several, where gradients are accumulated."""
        step = self._schedule.next_step
        if self._loader is None and step is not None and state.global_step + 1 >= step:
            self._begin(step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """End a step."""
        if self._schedule.reached(state.global_step):
            self._end(state.global_step)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """End an epoch."""
        if self._schedule.is_epoch(self._epoch):
            self._end(self._epoch)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Send what is left."""
        self._close()

    def _begin(self, step: int) -> None:
        if self._session and self._model is not None and not self._session.recording:
            self._session.begin(step)
            self._hook = self._model.register_forward_hook(Hook(self._take_labels, ""), with_kwargs=True)

    def _take_labels(self, _: Any, arguments: tuple[Any, ...]) -> None:
        """The model has been called: not by an evaluation, which the Trainer puts between the batches of an epoch."""
        model, _, named, _ = arguments
        if self._session and model.training:
            self._session.labels(self._labels, named)

    def _end(self, step: int) -> None:
        self._unhook()
        if self._session:
            self._session.end() if self._loader is None else self._session.record(self._loader, step)

    def _unhook(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _close(self) -> None:
        self._unhook()
        if self._session is not None:
            self._session.close()

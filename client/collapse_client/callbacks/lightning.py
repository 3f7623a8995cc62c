"""PyTorch Lightning: `lightning`, or `pytorch_lightning`, its older name.

callback = LightningCallback(["backbone.*"], run="resnet")
Trainer(max_epochs=10, callbacks=[callback]).fit(module, loader)
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional

from collapse_client.callbacks.schedule import Schedule
from collapse_client.callbacks.session import Session, labels_of
from collapse_client.errors import MissingLibrary
from collapse_client.recording.recorder import Recorder

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    try:
        if "pytorch_lightning" in sys.modules and "lightning" not in sys.modules:
            raise ImportError("the older name is in use")
        from lightning.pytorch import Callback
    except ImportError:
        try:
            from pytorch_lightning import Callback
        except ImportError as error:
            raise MissingLibrary("Lightning", extra="lightning") from error


class LightningCallback(Callback):
    """Records every n-th epoch, or step of the optimizer, of `Trainer.fit`.

    layers: names or patterns of modules, as the LightningModule has them. run, and `options`: as the Recorder takes
    them. Without `loader`, what is recorded are the training batches as they come, of a whole epoch or of that step;
    `labels` finds the labels in such a batch, else they are its last entry, or the one called labels. With `loader`, a
    pass over it at the end of the epoch or after the step: in eval mode, through the module's `forward`.

    Epochs count from 0, as in Lightning; every_n_epochs=5 records 4, 9, … Steps are the Trainer's `global_step`.
    Nothing that goes wrong in here ends a training.

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
        labels: Callable[[Any], Any] = labels_of,
        **options: Any,
    ) -> None:
        super().__init__()
        self._layers, self._run, self._options = layers, run, options
        self._loader, self._labels = loader, labels
        self._schedule = Schedule(every_n_epochs, every_n_steps)
        self._session: Optional[Session] = None

    @property
    def recorder(self) -> Optional[Recorder]:
        """The Recorder of the training that goes on, or was the last."""
        return None if self._session is None else self._session.recorder

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._close()
        self._session = Session(Recorder(pl_module, self._layers, run=self._run, **self._options))
        self._schedule.begin(trainer.global_step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to record the batches of an epoch."""
        if self._session and self._loader is None and self._schedule.is_epoch(trainer.current_epoch):
            self._session.begin(trainer.current_epoch)

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Begin to record the batches of a step: several, where gradients are accumulated."""
        step = self._schedule.next_step
        if step is None or self._session is None or self._session.recording or self._loader is not None:
            return
        if trainer.global_step + 1 >= step:
            self._session.begin(step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Give the labels of the batch; end a step."""
        if self._session:
            self._session.labels(self._labels, batch)
            if self._schedule.reached(trainer.global_step):
                self._end(trainer, trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End an epoch."""
        if self._session and self._schedule.is_epoch(trainer.current_epoch):
            self._end(trainer, trainer.current_epoch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Send what is left."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave out what was cut short."""
        self._close(exception)

    def _end(self, trainer: Trainer, step: int) -> None:
        if self._session is None:
            return
        if self._loader is None:
            self._session.end()
            return
        # As Lightning itself would run these batches: mixed precision is a context, other kinds convert the input.
        with trainer.precision_plugin.forward_context():
            self._session.record(_converted(self._loader, trainer.precision_plugin.convert_input), step)

    def _close(self, error: Optional[BaseException] = None) -> None:
        if self._session is not None:
            self._session.close(error)


def _converted(loader: Iterable[Any], convert: Callable[[Any], Any]) -> Iterator[Any]:
    # Not an expression in brackets, which would begin with the loader, and draw its random numbers, at once.
    for batch in loader:
        yield convert(batch)

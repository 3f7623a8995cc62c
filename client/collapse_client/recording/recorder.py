"""The Recorder: what a training loop sees."""

from __future__ import annotations

import atexit
import contextlib
import functools
import operator
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Literal, Optional, Union

import torch
from torch import nn

from collapse_client.client import Client
from collapse_client.format.moments import Deviations
from collapse_client.recording.accumulation import MomentsStep
from collapse_client.recording.allowance import Allowance
from collapse_client.recording.applied import Applied
from collapse_client.recording.capture import Capture
from collapse_client.recording.errors import RecordingError, Troubles
from collapse_client.recording.evaluation import batches_of, evaluating
from collapse_client.recording.outbox import Outbox
from collapse_client.recording.pairing import Pairing
from collapse_client.recording.pooling import Pool, pooling
from collapse_client.recording.ranks import Ranks
from collapse_client.recording.samples import FeaturesStep
from collapse_client.recording.selection import named_layers, select, unwrapped
from collapse_client.recording.spool import Manifest
from collapse_client.recording.step_writer import StepWriter

MEBIBYTE = 2**20


class Recorder:
    """Records what the layers of a model make of the samples, and sends it to the service in the background.

        recorder = Recorder(model, layers=["layer1", "head.*"], run="resnet")
        for epoch in range(10):
            with recorder.step(epoch):
                for x, y in loader:
                    loss = criterion(model(x), y)
                    recorder.labels(y)  # before or after the forward pass of the batch
                    ...
        recorder.record(test_loader, step=epoch)  # or so: a pass of its own, in eval mode, without gradients
        recorder.close()

    What is recorded
        `layers`: names of modules or patterns of them (`*`, `?`, `[…]`), without what torch.compile and
        DistributedDataParallel put before them. They are sent in the order in which they run. `at`: a layer's features
        are the "output" of its module, or its "input". Of a tuple or dict it is the first floating tensor of two axes
        or more. A module that is called several times in a forward pass counts with its last call. `pool`: "flatten",
        "mean" (over the axes of space or time), or a function of the tensor. Labels (N, T) of features (N, T, dim) make
        a sample of each position; negative labels stand for no class. `max_samples`: of a step, then it is let be.
    Weights
        With a layer's features go the weights and biases of the first nn.Linear in whose input they are found, as they
        are, flattened, mean-pooled or after dropout: recording the layer before the classifier, you get duality
        metrics. With at="input" a linear layer is recorded with its own. `classifier`: a module, or its name, whose
        weights go with the last layer instead. They are those of the end of the step.
    Modes
        "features": the samples themselves, in files of `part_bytes`. "moments": counts, means and scatter of each
        class, accumulated where the model is; `second_moments` "trace", or "matrix", which costs N·d² and gives NC1.
    Several processes
        Where torch.distributed is initialised, make a Recorder on every rank (else pass distributed=False). Rank 0
        sends: the merged moments, or the features of all, which they write to the one `spool`.
    When the service does not keep up, or is not there
        Steps wait in the folder `spool`. While more than `queue_bytes` wait there, a new step is, by `when_full`,
        "wait": put off for at most `wait_share` of the time that a step takes, then left out; "drop": left out at once;
        "spill": kept as well, as long as the disk has room. A step is recorded whole or not at all. Trouble is a
        RecordingWarning, once for each kind; never an exception. `close` tries for `close_timeout` seconds to send what
        is left; the rest stays in `spool`, for `collapse push`.

    Outside `step` no hooks are in place. With torch.compile the model runs uncompiled inside `step`: prefer `record`.
    Raises RecordingError for names that there are not, and for what cannot work.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        *,
        run: str,
        url: str = "http://127.0.0.1:8000",
        api_key: Optional[str] = None,
        mode: Literal["features", "moments"] = "features",
        at: Literal["output", "input"] = "output",
        pool: Union[Literal["flatten", "mean"], Pool] = "flatten",
        classifier: Union[str, nn.Module, None] = None,
        second_moments: Literal["trace", "matrix"] = "trace",
        max_samples: Optional[int] = None,
        tags: Iterable[str] = (),
        metrics: Optional[Iterable[str]] = None,
        when_full: Literal["wait", "drop", "spill"] = "wait",
        wait_share: float = 0.05,
        queue_bytes: int = 1024 * MEBIBYTE,
        part_bytes: int = 32 * MEBIBYTE,
        spool: Union[str, os.PathLike[str]] = "collapse-spool",
        timeout: float = 30.0,
        close_timeout: float = 10.0,
        distributed: bool = True,
    ) -> None:
        for name, value, choices in (
            ("mode", mode, ("features", "moments")),
            ("at", at, ("output", "input")),
            ("second_moments", second_moments, ("trace", "matrix")),
            ("when_full", when_full, ("wait", "drop", "spill")),
        ):
            if value not in choices:
                raise RecordingError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        self.dropped: list[int] = []
        """Steps that were left out, because the service or the disk did not keep up, or because of an error."""
        self.model = unwrapped(model)
        """What is recorded: the model without what torch.compile and DistributedDataParallel put around it."""
        self._classifier = _classifier(model, classifier)
        self._layers, self._at, self._pool = select(model, layers), at, pooling(pool, self.model)
        self._mode, self._second_moments, self._part_bytes = mode, second_moments, part_bytes
        self._deviations = Deviations(torch.float32)
        self._max_samples, self._when_full, self._queue_bytes = max_samples, when_full, queue_bytes
        self._manifest = functools.partial(
            Manifest, run=run, tags=tuple(tags), metrics=None if metrics is None else tuple(metrics)
        )
        self._spool, self._close_timeout = Path(spool).absolute(), close_timeout
        self._troubles = Troubles()
        self._allowance = Allowance(wait_share if when_full != "drop" else 0.0)
        self._ranks = Ranks(run, enabled=distributed, troubles=self._troubles)
        client = Client(url, api_key=api_key, timeout=timeout, retry_seconds=0.0)
        self._outbox = Outbox(client, self._spool, keep_refused=when_full == "spill", troubles=self._troubles)
        self._current: Optional[_Step] = None
        self._off = self._closed = False
        self._process = os.getpid()
        atexit.register(self.close)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers that are recorded, in the order of the model."""
        return tuple(self._layers)

    @property
    def jobs(self) -> dict[int, str]:
        """The job of each step that the service has accepted."""
        return dict(self._outbox.jobs)

    @property
    def waited_seconds(self) -> float:
        """For how long the training was made to wait, all in all."""
        return self._allowance.waited_seconds

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[bool]:
        """Record the batches that are run in this block; gives whether that is done, or the step is left out.

        Nothing is sent of a block that ends with an exception. Raises RecordingError inside another step, or after
        `close`.
        """
        if self._closed or self._current is not None:
            raise RecordingError("The Recorder is closed." if self._closed else "End a step before the next begins.")
        self._current = self._begin(operator.index(step))
        try:
            with _uncompiled():
                yield self._current.active
        except BaseException:
            self._current.writer.failed = True
            self._outbox.write(self._current.writer.abandon)
            raise
        else:
            self._guarded(self._finish, self._current)
        finally:
            self._current.capture.detach()
            self._current = None

    def labels(self, labels: Any) -> None:
        """Give the labels of a batch, before or after its forward pass; outside a step nothing is done with them.

        A tensor, an array or a list: the class of each sample, or of each position.
        """
        if self._current is not None and self._current.active:
            self._guarded(self._current.pairing.labels, labels)

    def record(self, loader: Iterable[Any], *, step: int) -> None:
        """Record one pass over a loader, in eval mode and without gradients; model and random state are as before.

        A batch is (input, …, labels) or a dict with `labels`, whose other entries are the model's arguments by name.
        """
        with self.step(step) as active:
            if active:
                with evaluating(self.model) as device:
                    for args, kwargs, labels in batches_of(loader, device):
                        self.model(*args, **kwargs)
                        self.labels(labels)

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Wait until everything that was recorded is sent; False if that does not come about in `timeout` seconds."""
        return self._outbox.flush(timeout)

    def close(self) -> None:
        """Send what is left, for at most `close_timeout` seconds; the rest stays in `spool`."""
        if self._closed or os.getpid() != self._process:  # a forked data loader ends: nothing there is its own
            return
        self._closed = True
        atexit.unregister(self.close)
        self._outbox.close(self._close_timeout)

    def _begin(self, step: int) -> _Step:
        self._ranks.announce()
        writer = StepWriter(self._spool, self._troubles)
        writer.failed = self._off or not self._has_room()
        self._allowance.begin()
        capture = Capture(
            self._layers,
            model=self.model,
            at=self._at,
            pool=self._pool,
            on_error=self._switch_off,
            keeps=self._mode == "features",
        )
        gathering = self._gathering(writer, capture)
        pairing = Pairing(capture, gathering, max_samples=self._max_samples, troubles=self._troubles)
        if not writer.failed:
            self._guarded(capture.attach)
        return _Step(step, writer, capture, gathering, pairing)

    def _gathering(self, writer: StepWriter, capture: Capture) -> Union[FeaturesStep, MomentsStep]:
        if self._mode == "moments":
            return MomentsStep(
                writer, self._outbox.write, second_moments=self._second_moments, deviations=self._deviations
            )
        return FeaturesStep(
            writer,
            self._outbox.write,
            has_room=self._has_room_in_memory,
            part_bytes=self._part_bytes,
            devices=capture.devices,
        )

    def _finish(self, step: _Step) -> None:
        try:
            self._guarded(step.pairing.end)
            step.capture.detach()
            self._check_layers(step)
            self._ranks.meet()
            applied = self._applied(step) if self._ranks.receives else Applied()
            step.gathering.finish(applied, self._ranks, self._manifest(step=step.number, key=secrets.token_hex(16)))
        except Exception:
            step.writer.failed = True
            self._outbox.write(step.writer.abandon)
            raise
        finally:
            if step.writer.failed:
                self.dropped.append(step.number)

    def _check_layers(self, step: _Step) -> None:
        """Tell of what was not seen."""
        if step.writer.failed:
            return
        if not step.pairing.dims:
            self._troubles.tell(
                "nothing",
                f"Nothing was recorded in step {step.number}: run the model that the Recorder was given, or a wrapper "
                "of it, and give `labels` of every batch.",
            )
        elif missing := [layer for layer in self._layers if layer not in step.pairing.dims]:
            self._troubles.tell("missing layers", f"Layers that did not run are not recorded: {', '.join(missing)}.")

    def _applied(self, step: _Step) -> Applied:
        modules = {layer: module for layer, module in step.capture.weights_of.items() if layer in step.pairing.dims}
        if self._classifier is not None and step.pairing.dims:
            last = [*step.pairing.dims][-1]
            modules[last] = self._classifier
            if not Applied.of({last: self._classifier}, step.pairing.dims).weights:
                self._troubles.tell(
                    "classifier",
                    f"The classifier is no matrix for the {step.pairing.dims[last]} features of {last}: its weights "
                    "are left out.",
                )
        return Applied.of(modules, step.pairing.dims)

    def _has_room(self) -> bool:
        """Whether a step may begin, after waiting as long as is allowed."""
        if self._when_full == "spill":
            return True
        with self._allowance.wait() as seconds:
            room = self._outbox.wait_below(self._queue_bytes, seconds)
        if not room:
            self._tell_full(f"{self._queue_bytes / MEBIBYTE:.0f} MiB wait to be sent")
        return room

    def _has_room_in_memory(self) -> bool:
        with self._allowance.wait() as seconds:
            room = self._outbox.wait_in_memory(seconds)
        if not room:
            self._tell_full(f"{self._spool} is slower than the training")
        return room

    def _tell_full(self, why: str) -> None:
        self._troubles.tell("full", f"Steps are left out of the recording while {why}; `dropped` lists them.")

    def _guarded(self, call: Callable[..., object], *arguments: object) -> None:
        """Nothing that goes wrong in recording may end a training."""
        try:
            call(*arguments)
        except Exception as error:
            self._switch_off(error)

    def _switch_off(self, error: Exception) -> None:
        self._off = True
        if self._current is not None:
            self._current.writer.failed = self._current.capture.paused = True
        self._troubles.tell("error", f"Recording is switched off; training goes on. {error or repr(error)}")


@dataclass(frozen=True)
class _Step:
    """What belongs to the step that is being recorded."""

    number: int
    writer: StepWriter
    capture: Capture
    gathering: Union[FeaturesStep, MomentsStep]
    pairing: Pairing

    @property
    def active(self) -> bool:
        return not self.writer.failed


def _classifier(model: nn.Module, classifier: Union[str, nn.Module, None]) -> Optional[nn.Module]:
    if not isinstance(classifier, str):
        return classifier
    layers = named_layers(model)
    if classifier not in layers:
        raise RecordingError(f"There is no classifier {classifier!r}; there are: {', '.join(layers)}")
    return layers[classifier]


@contextlib.contextmanager
def _uncompiled() -> Iterator[None]:
    """Run what torch.compile has compiled as it was written: compiled code does not look at hooks that come later."""
    if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield

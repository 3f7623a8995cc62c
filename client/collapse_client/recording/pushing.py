"""Sending what a spool folder holds: what `collapse push DIR` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, NamedTuple, Optional

from collapse_client.client import Client
from collapse_client.errors import ServiceError
from collapse_client.recording.errors import SpoolError
from collapse_client.recording.sending import REFUSALS, send_step
from collapse_client.recording.spool import Manifest, finished_steps, lock_of, unfinished_steps


class SentStep(NamedTuple):
    """A step that the service has now, and the job that measures it."""

    run: str
    step: Optional[int]
    job_id: str


class RefusedStep(NamedTuple):
    """A step that the service does not take, why, and the folder where it stays."""

    folder: Path
    detail: str


@dataclass(frozen=True)
class PushResult:
    """What became of the steps of a spool folder."""

    sent: tuple[SentStep, ...]
    """accepted by the service and deleted here, in the order of recording"""
    refused: tuple[RefusedStep, ...]
    """not accepted, whatever is tried; they stay"""
    busy: tuple[Path, ...]
    """being sent by somebody else at this moment"""
    unfinished: tuple[Path, ...]
    """of a training that still writes them, or was killed while it did; never sent"""


def push(client: Client, folder: Path, on_step: Callable[[str], object] | None = None) -> PushResult:
    """Send every finished step in `folder`, oldest first; delete what was accepted.

    A folder that is not there is empty. `on_step` is called with one line for a person after each. Raises
    ServiceUnreachable, or ServiceError where the service is there and cannot (503, 507, a wrong key): what has not been
    sent stays, and the next call goes on there.
    Running it twice, one after the other or at the same time, sends nothing twice.

        result = push(Client("http://127.0.0.1:8000"), Path("collapse-spool"), on_step=print)
        assert not result.refused, result.refused
    """
    sent: list[SentStep] = []
    refused: list[RefusedStep] = []
    busy: list[Path] = []
    tell = on_step or (lambda _line: None)
    for path in finished_steps(folder):
        with lock_of(path) as locked:
            if not locked:
                busy.append(path)
                continue
            try:
                manifest = Manifest.read(path)
                job_id = send_step(client, path)
            except (ServiceError, SpoolError) as error:
                if isinstance(error, ServiceError) and error.status not in REFUSALS:
                    raise
                refused.append(RefusedStep(path, str(error)))
                tell(f"{path.name} is refused: {error}")
            else:
                sent.append(SentStep(manifest.run, manifest.step, job_id))
                tell(f"{manifest}: job {job_id}")
    return PushResult(tuple(sent), tuple(refused), tuple(busy), tuple(unfinished_steps(folder)))

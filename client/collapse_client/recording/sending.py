"""One finished step, from its folder to the service."""

from __future__ import annotations

import functools
import threading
from collections import deque
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Callable

from collapse_client.client import Client
from collapse_client.errors import ServiceError
from collapse_client.recording.errors import SpoolError
from collapse_client.recording.spool import Manifest, Progress, delete_step, parts_of

REFUSALS = (400, 409, 413, 415, 422)
"""Answers that will be the same however often the step is sent. All others may change: a key, a disk, a database."""


def send_step(client: Client, folder: Path) -> str:
    """Send a step, delete its folder, and return the id of its job; goes on where an earlier call was cut off.

    Raises ServiceError, ServiceUnreachable, SpoolError; the folder is still there then.
    """
    manifest, parts = Manifest.read(folder), parts_of(folder)
    if not parts:
        raise SpoolError(f"{folder} holds no part of {manifest}: delete it.")
    if len(parts) == 1:
        job = client.analyse(
            parts[0],
            run=manifest.run,
            step=manifest.step,
            tags=manifest.tags,
            metrics=manifest.metrics,
            idempotency_key=manifest.key,
        )
    else:
        features_id = _features_of(client, folder, parts)
        metrics = {} if manifest.metrics is None else {"metrics": list(manifest.metrics)}
        job = client.submit(
            "measure_collapse",
            features=features_id,
            run=manifest.run,
            step=manifest.step,
            tags=manifest.tags,
            idempotency_key=f"{manifest.key}-{features_id}",
            **metrics,
        )
    delete_step(folder)
    return job["id"]


def _features_of(client: Client, folder: Path, parts: list[Path]) -> str:
    """Send what the service has not got of a set in parts, and return its id."""
    progress = Progress.read(folder)
    if progress is not None:
        try:
            return _complete(client, folder, parts, progress)
        except ServiceError as error:
            if error.code != "features_not_found":  # expired, or the service began anew
                raise
    return _complete(client, folder, parts, Progress(client.open_parts()["id"]))


def _complete(client: Client, folder: Path, parts: list[Path], progress: Progress) -> str:
    progress.write(folder)
    underway: deque[Future[None]] = deque()
    try:
        for index, path in list(enumerate(parts))[progress.sent :]:
            # While the service makes one part durable and reads it through, the next is on its way.
            underway.append(_begun(functools.partial(client.put_part, progress.features_id, index, path)))
            if len(underway) > 1:
                _settle(underway.popleft(), progress, folder)
        while underway:
            _settle(underway.popleft(), progress, folder)
    finally:
        wait(underway)  # else a part would still be sent when the folder may be somebody else's
    return client.complete(progress.features_id)["id"]


def _settle(part: Future[None], progress: Progress, folder: Path) -> None:
    part.result()
    progress.sent += 1
    progress.write(folder)


def _begun(send: Callable[[], None]) -> Future[None]:
    """Send in a thread that keeps no process alive, as those of an executor would."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            send()
            future.set_result(None)
        except BaseException as error:
            future.set_exception(error)

    try:
        threading.Thread(target=run, name="collapse_send_part", daemon=True).start()
    except RuntimeError:  # the interpreter ends, and starts no threads any more
        run()
    return future

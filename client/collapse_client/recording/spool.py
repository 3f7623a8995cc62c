"""A step on disk: a folder with its parts and a manifest.

    SPOOL/1764063912345678901-3fa9c1d2.partial/    while it is written
    SPOOL/1764063912345678901-3fa9c1d2.step/       by an atomic rename, once it is whole
        manifest.json                              where it belongs: run, step, tags, metrics
        part-00000.safetensors …                   of samples, or of moments
        progress.json                              how much of it the service has

Folders sort by the time at which they were begun.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

from collapse_client.recording.errors import SpoolError

try:
    import fcntl
except ImportError:  # Windows: two processes that send the same spool are not kept apart there
    fcntl = None  # type: ignore[assignment]  # a module, elsewhere

PARTIAL, FINISHED, SENT = ".partial", ".step", ".sent"
MANIFEST, PROGRESS, LOCK = "manifest.json", "progress.json", "lock"


@dataclass(frozen=True)
class Manifest:
    """Where a step belongs; `key` makes its job one job, however often it is submitted."""

    run: str
    step: int
    key: str
    tags: tuple[str, ...] = ()
    metrics: Optional[tuple[str, ...]] = None

    def __str__(self) -> str:
        return f"run {self.run}, step {self.step}"

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read that of a finished step; raises SpoolError when there is none."""
        try:
            fields = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            metrics = fields["metrics"]
            return cls(
                run=fields["run"],
                step=fields["step"],
                key=fields["key"],
                tags=tuple(fields["tags"]),
                metrics=None if metrics is None else tuple(metrics),
            )
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise SpoolError(f"{folder} holds no step that could be sent ({error}): delete it.") from error


@dataclass
class Progress:
    """How much of a step the service has: the set that was opened for it, and the number of parts that are in it."""

    features_id: str
    sent: int = 0

    @classmethod
    def read(cls, folder: Path) -> Progress | None:
        """Read that of a step; None before its first part."""
        try:
            fields = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
            return cls(features_id=fields["features_id"], sent=fields["sent"])
        except (OSError, ValueError, LookupError, TypeError):
            return None  # without it, everything is sent again

    def write(self, folder: Path) -> None:
        """Keep it, whole or not at all."""
        partial = folder / f"{PROGRESS}{PARTIAL}"
        partial.write_text(json.dumps(asdict(self)), encoding="utf-8")
        partial.replace(folder / PROGRESS)


def part_path(folder: Path, index: int) -> Path:
    """Where part `index` of a step is, or is to be."""
    return folder / f"part-{index:05d}.safetensors"


def parts_of(folder: Path) -> list[Path]:
    """The parts of a step, in order."""
    return sorted(folder.glob("part-*.safetensors"))


def finish_step(folder: Path, manifest: Manifest) -> Path:
    """Write the manifest and give the folder the name under which it will be sent."""
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest), ensure_ascii=False), encoding="utf-8")
    return folder.rename(folder.with_suffix(FINISHED))


def finished_steps(spool: Path) -> list[Path]:
    """The steps that are whole, oldest first."""
    return _folders(spool, FINISHED)


def unfinished_steps(spool: Path) -> list[Path]:
    """The steps that somebody writes, or wrote when he was killed."""
    return _folders(spool, PARTIAL)


def _folders(spool: Path, suffix: str) -> list[Path]:
    try:
        return sorted(path for path in spool.iterdir() if path.suffix == suffix)
    except (FileNotFoundError, NotADirectoryError):  # it may also go away between two calls
        return []


def delete_step(folder: Path) -> None:
    """Remove a step, and the spool if that is empty then."""
    # At once by its name: what a cut leaves of it must not be sent again.
    sent = folder.rename(folder.with_suffix(SENT))
    for rest in (sent, *_folders(folder.parent, SENT)):
        shutil.rmtree(rest, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty
        folder.parent.rmdir()


@contextlib.contextmanager
def lock_of(folder: Path) -> Iterator[bool]:
    """Give whether this process alone may send the step; a killed process leaves no lock behind."""
    try:
        file = (folder / LOCK).open("w")
    except OSError:  # somebody sent and deleted it
        yield False
        return
    with file:
        if fcntl is None:
            yield True
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        try:
            yield folder.exists()
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # and not by closing: a forked data loader has the file open too

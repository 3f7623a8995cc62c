"""A disk so small that a test can fill it: a file system in memory, where one may be mounted."""

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

BLOCK_BYTES = 64 * 1024


class SmallDisk:
    """A folder whose room can be taken and given back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Take all room but this."""
        with self._filler.open("ab", buffering=0) as file:
            size = BLOCK_BYTES
            while size:
                try:
                    file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2
            file.truncate(max(0, file.tell() - leave_bytes))

    def make_room(self) -> None:
        """Give it back."""
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[SmallDisk]:
    """Mount one at this folder; the test is skipped where that is refused."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount` here, and so no disk that could be filled")
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here ({done.stderr.strip()}): a full disk cannot be tried")
    try:
        yield SmallDisk(folder)
    finally:
        with suppress(OSError):  # unmounted lazily: whoever still has files open there keeps it for a while
            subprocess.run(["umount", "--lazy", str(folder)], check=True)

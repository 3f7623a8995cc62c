"""The lock on the data folder: one `collapse serve` at a time works on it."""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from server.errors import DataFolderInUse, StartRefused

PATIENCE_SECONDS = 15.0


class DataFolderLock:
    """Holds DATA_DIR/lock from the entry of a `with` block to its end.

    The children inherit `descriptor`, and with it the lock: after a kill -9 of the supervisor it is free when the last
    of them has ended, so that two brokers never write to one file.
    """

    def __init__(self, folder: Path, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._folder = folder
        self._patience_seconds = patience_seconds
        self.descriptor = -1

    def __enter__(self) -> Self:
        self.descriptor = _open(self._folder)
        deadline = time.monotonic() + self._patience_seconds
        while not self._try():
            holder = int(os.pread(self.descriptor, 20, 0).strip() or b"0")
            # The children of a supervisor that was killed are about to end: that is worth a moment.
            if _runs(holder) or time.monotonic() > deadline:
                os.close(self.descriptor)
                raise DataFolderInUse(
                    f"The data folder {self._folder} is in use by process {holder}. "
                    f"Stop that one (kill {holder}), or choose another folder with --data-dir."
                )
            time.sleep(0.05)
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, b"%d\n" % os.getpid(), 0)
        return self

    def _try(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self.descriptor)


def _open(folder: Path) -> int:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartRefused(
            f"The data folder {folder} cannot be used: {error.strerror}. Choose another one with --data-dir."
        ) from error


def _runs(pid: int) -> bool:
    return pid > 0 and Path(f"/proc/{pid}").exists()

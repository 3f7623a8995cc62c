"""The folder in which the processes of one host keep their numbers, so that any of them can tell those of all.

Each process writes files of its own, named by its id, which Prometheus' library maps into memory. A process that has
ended leaves its files: what it counted goes into a common file of the past, because a sum that falls reads like a
restart of everything, and what it was just doing goes away with it.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prometheus_client import values
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

PAST = "past"
COUNTED = ("counter", "histogram")
LIVE = ("gauge_livesum", "gauge_livemax")
"""The only modes of gauges in use: of processes that run."""
FILE_BYTES = {"histogram": 2**20}
SMALL_FILE_BYTES = 2**17


class NumbersFolder(Collector):
    """The numbers of all processes that share the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def join(self) -> None:
        """Have this process write here from now on; `OSError` if there is no room. Before any metric is made."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for kind in (*COUNTED, *LIVE):
            _reserve(self._file(kind, os.getpid()))
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.folder)
        values.ValueClass = values.MultiProcessValue()

    def collect(self) -> Iterable[Metric]:
        """Sums over processes, those that have ended included."""
        with self._locked():
            with suppress(OSError):  # on a full disk they wait for their burial, and are counted all the same
                self._bury_the_dead()
            return list(MultiProcessCollector.merge(map(str, sorted(self.folder.glob("*.db")))))

    def bury_the_dead(self) -> None:
        """Put what ended processes have counted to the past."""
        with self._locked():
            self._bury_the_dead()

    def _bury_the_dead(self) -> None:
        owners = {path: path.stem.rpartition("_")[2] for path in self.folder.glob("*.db")}
        dead = {owner for owner in owners.values() if owner.isdecimal() and not _runs(int(owner))}
        for path, owner in owners.items():
            kind = path.stem.removesuffix(f"_{owner}")
            if owner in dead and kind in COUNTED:
                _add(path, to=self._file(kind, PAST))
                path.unlink()
        for owner in dead:
            mark_process_dead(int(owner), str(self.folder))

    def _file(self, kind: str, owner: int | str) -> Path:
        return self.folder / f"{kind}_{owner}.db"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _reserve(path: Path) -> None:
    # Written through a mapping: a hole for which a full disk has no block would end the process with SIGBUS.
    with path.open("ab") as file:
        kind = path.stem.partition("_")[0]
        os.posix_fallocate(file.fileno(), 0, FILE_BYTES.get(kind, SMALL_FILE_BYTES))


def _add(path: Path, *, to: Path) -> None:
    _reserve(to)
    past: Any = MmapedDict(str(to))
    try:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):
            past.write_value(key, past.read_value(key)[0] + value, 0.0)
    finally:
        past.close()


def _runs(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

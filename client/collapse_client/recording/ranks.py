"""The processes of one training, where torch.distributed is initialised."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from torch import distributed

from collapse_client.recording.errors import Troubles

PATIENCE = timedelta(seconds=20)
"""For how long, once, the other ranks are waited for: they may have no Recorder at all."""


class Ranks:
    """Brings what every rank has to rank 0, at the end of every step.

    Each rank says in the process group's own store that it has a Recorder. Unless all have, nothing collective is done,
    which would wait for ever, and the lowest of those that have records its own share alone.
    """

    def __init__(self, run: str, *, enabled: bool, troubles: Troubles) -> None:
        self._run, self._enabled, self._troubles = run, enabled, troubles
        self._complete: bool | None = None
        self._silent = False

    @property
    def several(self) -> bool:
        """Whether there is anybody to merge with."""
        return self._enabled and distributed.is_available() and distributed.is_initialized() and _size() > 1

    def announce(self) -> None:
        """Say that this rank has a Recorder."""
        if self.several and self._complete is None:
            _store().set(self._key(distributed.get_rank()), "here")

    def meet(self) -> None:
        """Find out, the first time, whether every rank has a Recorder."""
        if self.several and self._complete is None:
            self._complete = self._wait_for_all()

    @property
    def receives(self) -> bool:
        """Whether this rank is the one that sends."""
        return distributed.get_rank() == 0 if self._merges else not self._silent

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks where they are received; nothing elsewhere."""
        if not self._merges:
            return [] if self._silent else [value]
        gathered: list[Any] | None = [None] * _size() if self.receives else None
        distributed.gather_object(value, gathered, dst=0)
        return gathered or []

    def exchange(self, value: Any) -> list[Any]:
        """Return the values of all ranks, that of the receiving one first; for small values."""
        if not self._merges:
            return [None if self._silent else value]
        values: list[Any] = [None] * _size()
        distributed.all_gather_object(values, value)
        return values

    @property
    def _merges(self) -> bool:
        return self.several and bool(self._complete)

    def _wait_for_all(self) -> bool:
        keys = [self._key(rank) for rank in range(_size())]
        try:
            _store().wait(keys, PATIENCE)
        except RuntimeError:
            here = [rank for rank, key in enumerate(keys) if _store().check([key])]
            self._silent = here[0] != distributed.get_rank()
            self._troubles.tell(
                "ranks",
                f"Only rank {', '.join(map(str, here))} of {_size()} has a Recorder of run {self._run}: what rank "
                f"{here[0]} sees is recorded alone. Make one on every rank, or pass distributed=False.",
            )
            return False
        return True

    def _key(self, rank: int) -> str:
        return f"collapse/{self._run}/{rank}"


def _size() -> int:
    return distributed.get_world_size()


def _store() -> Any:
    # The one store that every rank has; there is no public name for it.
    return distributed.distributed_c10d._get_default_store()

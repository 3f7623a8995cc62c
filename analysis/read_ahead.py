"""Reading ahead of the computation: the next items are made in a thread while the present one is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")
DEPTH = 2
"""Items made ahead, at most: one that waits, and one in the making."""


class _End:
    """What the thread sends last, with the error that ended it, if one did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def read_ahead(items: Iterable[Item]) -> Generator[Item]:
    """Give the items in their order, with a thread `DEPTH` ahead; what making one raises comes up in its place.

    A walk that is given up half-way ends the thread too.

    >>> list(read_ahead("abc"))
    ['a', 'b', 'c']
    """
    ready: queue.Queue[Item | _End] = queue.Queue()
    room, given_up = threading.Semaphore(DEPTH), threading.Event()
    thread = threading.Thread(target=_make, args=(items, ready, room, given_up), name="read-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            room.release()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        given_up.set()
        room.release()
        thread.join()


def _make(
    items: Iterable[Item], ready: queue.Queue[Item | _End], room: threading.Semaphore, given_up: threading.Event
) -> None:
    end, remaining = _End(), iter(items)
    try:
        while room.acquire() and not given_up.is_set():
            try:
                ready.put(next(remaining))
            except StopIteration:
                break
    except BaseException as error:  # whatever it is belongs to the one who walks
        end = _End(error)
    ready.put(end)

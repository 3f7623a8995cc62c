"""When a callback records."""

from __future__ import annotations

from typing import Optional

from collapse_client.recording.errors import RecordingError


class Schedule:
    """Every n-th epoch, counted from 1, or every n-th step of the optimizer.

    >>> schedule = Schedule(every_n_epochs=2)
    >>> [epoch for epoch in range(6) if schedule.is_epoch(epoch)]
    [1, 3, 5]
    >>> schedule = Schedule(every_n_steps=10)
    >>> schedule.begin(25)
    >>> schedule.next_step, schedule.reached(29), schedule.reached(30), schedule.next_step
    (30, False, True, 40)
    """

    def __init__(self, every_n_epochs: Optional[int] = None, every_n_steps: Optional[int] = None) -> None:
        if every_n_epochs is not None and every_n_steps is not None:
            raise RecordingError("Give every_n_epochs or every_n_steps, not both.")
        self._epochs = 1 if every_n_epochs is None and every_n_steps is None else every_n_epochs
        self._steps = every_n_steps
        if (self._epochs or self._steps or 0) < 1:
            raise RecordingError("every_n_epochs and every_n_steps must be at least 1.")
        self.next_step: Optional[int] = None
        """The step that is recorded next; None where epochs are."""

    def begin(self, step: int) -> None:
        """Training begins, or goes on, after so many steps."""
        if self._steps is not None:
            self.next_step = (step // self._steps + 1) * self._steps

    def is_epoch(self, epoch: int) -> bool:
        """Whether this epoch, the first being 0, is recorded."""
        return self._epochs is not None and (epoch + 1) % self._epochs == 0

    def reached(self, step: int) -> bool:
        """Whether, after so many steps, the one to be recorded has come; then the next is looked for."""
        if self.next_step is None or step < self.next_step:
            return False
        self.begin(step)
        return True

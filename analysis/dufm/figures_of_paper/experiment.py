"""What the figures share: trainings as parts of one job, shortened by its scale, and work that cannot tell progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from analysis.commands.train_dufm import TrainDufm
from analysis.dufm.artifacts import SOLUTION, TRAJECTORY, from_safetensors
from analysis.dufm.model import Variables
from analysis.dufm.problem import Problem
from analysis.dufm.references import references
from analysis.dufm.report import Panel, Statement, Training
from analysis.dufm.training import train
from analysis.errors import ChildFailed
from analysis.report import Warning

if TYPE_CHECKING:
    from analysis.commands import ChildJob, Surroundings
    from analysis.commands.reproduce_figure import ReproduceFigure

Value = TypeVar("Value")
Result = TypeVar("Result")

FEWEST_STEPS: Final = 200
FEWEST_POINTS: Final = 3
KEPT: Final = (SOLUTION, TRAJECTORY)
"""What a training leaves that a figure may keep."""
WORTH_JOBS: Final = 2e10
"""Multiply-adds from which trainings are worth a job each: a second of one core."""
PARTS: Final = 1000
"""Of a job, as its progress counts them."""
HEARD_SECONDS: Final = 0.1
STILL_FALLING: Final = 1e-2
"""Share of the mean loss that runs may lose over their last fifth and be said to have settled."""


@dataclass(frozen=True)
class Trained:
    """Runs of one setting."""

    problem: Problem
    training: Training
    solution: Variables | None
    """of the best run; None if all diverged"""
    artifacts: Mapping[str, bytes]
    warnings: tuple[Warning, ...]

    @property
    def settled(self) -> bool:
        """Whether the loss no longer falls: only then do the runs tell where gradient descent ends."""
        fall = last_fall(self.training)
        return fall is not None and fall <= STILL_FALLING

    @property
    def losses(self) -> tuple[float, ...]:
        """Of the runs that did not diverge, at the end."""
        return tuple(run.loss for run in self.training.runs if run.loss is not None and run.stop_reason != "diverged")

    def ranks(self, layer: str) -> tuple[int, ...]:
        """Of this layer's class means, of the same runs."""
        found = (run.ranks[layer] for run in self.training.runs)
        return tuple(rank for rank in found if rank is not None)


def last_fall(training: Training) -> float | None:
    """The share of the mean loss that the runs lost over the last fifth of the steps; None where all have diverged."""
    steps, means = training.trajectory.step, training.trajectory.loss.mean
    before = [mean for step, mean in zip(steps, means, strict=True) if step <= 0.8 * steps[-1]]
    if len(before) < 2 or not before[-1] or means[-1] is None:
        return None
    return 1 - means[-1] / before[-1]


@dataclass(frozen=True)
class Outcome:
    """What an experiment has to say."""

    problem: Problem
    """that the report is about"""
    settings: Mapping[str, Any]
    panels: tuple[Panel, ...]
    statements: tuple[Statement, ...]
    main: Trained | None = None
    """whose best run the report's layers show"""


class Setting(NamedTuple):
    """What is to be trained, and its share of the job's work."""

    name: str
    share: float
    parameters: Mapping[str, Any]


class ChildrenNeeded(Exception):
    """These trainings have to be done first, as jobs of their own."""

    def __init__(self, commands: Sequence[TrainDufm]) -> None:
        super().__init__(f"{len(commands)} trainings")
        self.commands = commands


@dataclass
class Experiment:
    """The work of one figure, its parts one after the other; shares of the parts add up to 1."""

    command: ReproduceFigure
    surroundings: Surroundings
    _done: float = field(default=0.0, init=False)

    def runs(self, number: int) -> int:
        """So many runs, scaled; at least 1."""
        return max(1, ceil(self.command.scale * number - 1e-9))

    def steps(self, number: int) -> int:
        """So many steps, scaled; at least 200."""
        return max(min(number, FEWEST_STEPS), round(self.command.scale * number))

    def points(self, values: Sequence[Value]) -> list[Value]:
        """So many values along an axis, scaled: evenly chosen, with the first and the last; at least 3."""
        count = min(len(values), max(FEWEST_POINTS, self.runs(len(values))))
        return [values[round(index * (len(values) - 1) / (count - 1))] for index in range(count)]

    def train_each(self, settings: Sequence[Setting]) -> list[Trained]:
        """Train several settings: here, or where it is worth it and there are workers, each as a job of its own.

        Raises ChildrenNeeded until these jobs have ended, ChildFailed if one has failed.
        """
        commands = [self._command(setting.parameters) for setting in settings]
        work = sum(command.needs(None).multiply_adds for command in commands)
        if self.surroundings.spread_bytes is None or len(commands) < 2 or work < WORTH_JOBS:
            return [self.train(setting.name, share=setting.share, **setting.parameters) for setting in settings]
        children = self.surroundings.children()
        if not children:
            raise ChildrenNeeded(commands)
        return [self._trained_by(command, child) for command, child in zip(commands, children, strict=True)]

    def _trained_by(self, command: TrainDufm, child: ChildJob) -> Trained:
        report = child.report
        if report is None:
            raise ChildFailed(
                child.error_code or "child_cancelled",
                child.error_detail or f"Job {child.job_id}, a part of this one, was cancelled: submit it anew.",
            )
        kept = {name: self.surroundings.artifact(child.job_id, name) for name in KEPT}
        artifacts = {name: path.read_bytes() for name, path in kept.items() if path is not None}
        return _trained(
            command,
            Training.model_validate(report["training"]),
            artifacts,
            tuple(Warning.model_validate(warning) for warning in report["warnings"]),
        )

    def _command(self, parameters: Mapping[str, Any]) -> TrainDufm:
        """With seeds from the job's own on."""
        return TrainDufm(kind="train_dufm", seed=self.command.seed, **parameters)

    def train(self, name: str, *, share: float, **parameters: Any) -> Trained:
        """Train a setting here; `share` of the job's work."""
        command = self._command(parameters)
        # The training asks again, and the second time the families are known.
        self.compute(f"{name}: references", partial(references, command.model), share=0.0)
        part = _Part(self.surroundings, name, self._done, share)
        report = train(command, part)
        self._done += share
        assert report.training is not None, "a training has one"
        return _trained(command, report.training, part.artifacts, report.warnings)

    def compute(self, name: str, work: Callable[[], Result], *, share: float) -> Result:
        """Do what has no way to tell progress, which is told meanwhile; `share` of the job's work.

        A job that is cancelled does not wait for it: the thread ends by itself.
        """
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        try:
            future = executor.submit(work)
            while not wait([future], timeout=HEARD_SECONDS).done:
                self.surroundings.progress(phase=name, current=round(PARTS * self._done), total=PARTS)
            self._done += share
            self.surroundings.progress(phase=name, current=round(PARTS * min(self._done, 1.0)), total=PARTS)
            return future.result()
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


def _trained(
    command: TrainDufm, training: Training, artifacts: Mapping[str, bytes], warnings: tuple[Warning, ...]
) -> Trained:
    content = artifacts.get(SOLUTION)
    return Trained(
        problem=command.model,
        training=training,
        solution=None if content is None else from_safetensors(content),
        artifacts=artifacts,
        warnings=warnings,
    )


class _Part:
    """Surroundings of a training that is part of a job: it has no job, no artifacts and no past of its own."""

    def __init__(self, whole: Surroundings, name: str, begin: float, share: float) -> None:
        self._whole, self._name, self._begin, self._share = whole, name, begin, share
        self.job_id = whole.job_id
        self.run: str | None = None
        self.step: int | None = None
        self.device, self.service_version = whole.device, whole.service_version
        self.spread_bytes: int | None = None
        self.artifacts: dict[str, bytes] = {}

    def outline_features(self, features_id: str) -> Any:
        raise TypeError("a training has no features")

    def open_features(self, features_id: str, *, first_part: int = 0, stop_part: int | None = None) -> Any:
        raise TypeError("a training has no features")

    def artifact(self, job_id: str, name: str) -> None:
        return None

    def previous_report(self) -> None:
        return None

    def children(self) -> tuple[()]:
        return ()

    def keep_artifact(self, name: str, content: bytes) -> None:
        self.artifacts[name] = content

    def progress(self, *, phase: str, current: int, total: int) -> None:
        """Training is the work; what comes after it counts as its end."""
        reached = current / max(1, total) if phase == "training" else 1.0
        self._whole.progress(
            phase=f"{self._name}: {phase}",
            current=round(PARTS * min(1.0, self._begin + self._share * reached)),
            total=PARTS,
        )

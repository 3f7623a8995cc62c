"""What every kind of job is made of: its validated parameters, and what it may ask of where it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Strict
from pydantic_core import PydanticCustomError

from analysis.report import Report

if TYPE_CHECKING:
    from collapse_client.format import FeatureFile, FeaturesDescription, MomentsFile


def _no_truth_and_no_text(value: object) -> object:
    if isinstance(value, bool | str):
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


WHOLE = BeforeValidator(_no_truth_and_no_text)
"""Makes an int an integer as JSON has it: 100.0 is one as well; `true` and "100" are none. Bounds stand before it."""
WholeNumber = Annotated[int, WHOLE]
Number = Annotated[float, Strict()]
"""A number as JSON has it; `true` and "0.5" are none."""


class Features(Protocol):
    """A feature set, opened: its layers in order, and the files that hold its samples."""

    @property
    def layers(self) -> Sequence[str]:
        """Names, in the order of the network."""
        ...

    @property
    def parts(self) -> Sequence[FeatureFile | MomentsFile]:
        """Open files, in the order of the set."""
        ...


@dataclass(frozen=True)
class FeaturesOutline:
    """What is known of a feature set without opening its files."""

    layers: Sequence[str]
    """names, in the order of the network"""
    parts: Sequence[FeaturesDescription]
    part_bytes: Sequence[int]


@dataclass(frozen=True)
class Needs:
    """What running a command takes, as far as can be told before: rather too much than too little."""

    memory_bytes: int = 0
    """besides the process itself"""
    multiply_adds: float = 0.0


@dataclass(frozen=True)
class ChildrenFirst:
    """What a command may answer in place of its report: do these, each as a job of its own, and then run it again.

    What it has kept by then is there when it runs again.
    """

    commands: Sequence[Command]


@dataclass(frozen=True)
class ChildJob:
    """One job of a parent, ended."""

    job_id: str
    kind: str
    status: str
    """succeeded, failed or cancelled"""
    parameters: Mapping[str, Any]
    error_code: str | None
    error_detail: str | None
    report: Mapping[str, Any] | None
    """as JSON; None unless it succeeded"""


class Surroundings(Protocol):
    """What a command needs from where it runs."""

    job_id: str
    run: str | None
    step: int | None
    device: str
    service_version: str
    spread_bytes: int | None
    """size from which the measuring of a feature set is spread over jobs; None: nothing is, no trainings either"""

    def outline_features(self, features_id: str) -> FeaturesOutline:
        """Look at a stored feature set without opening it."""
        ...

    def open_features(
        self, features_id: str, *, first_part: int = 0, stop_part: int | None = None
    ) -> AbstractContextManager[Features]:
        """Open a stored feature set, or some of its parts."""
        ...

    def artifact(self, job_id: str, name: str) -> Path | None:
        """Where what a job has kept under this name can be read; None if it has kept nothing under it."""
        ...

    def previous_report(self) -> Mapping[str, Any] | None:
        """The report, as JSON, of the greatest step before this one, of the same run and kind, if there is one."""
        ...

    def children(self) -> Sequence[ChildJob]:
        """The jobs that this one is the parent of, in the order in which its command named them."""
        ...

    def keep_artifact(self, name: str, content: bytes) -> None:
        """Keep a file beside the report, under `name`; it is there once the job has succeeded."""
        ...

    def progress(self, *, phase: str, current: int, total: int) -> None:
        """Hear how far the work is; called between pieces of it, and may raise to stop it."""
        ...


class Command(BaseModel):
    """What a job shall do."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    internal: ClassVar[bool] = False
    """whether only other commands make jobs of this kind"""

    kind: str

    def run(self, surroundings: Surroundings) -> Report | ChildrenFirst:
        """Do it."""
        raise TypeError(f"{type(self).__name__} has no run(): give the class one")

    def needs(self, features: FeaturesOutline | None) -> Needs:
        """What it takes; `features`: those that it reads, if any."""
        return Needs()

    def children(self) -> Sequence[Command]:
        """The commands that must have ended before this one runs: each becomes a job, and this one their parent."""
        return ()

"""A grid of DUFM trainings or searches: a parent job, and a child for each cell and repeat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from analysis.commands.base import Command, Surroundings, WholeNumber
from analysis.commands.find_dufm_optimum import FindDufmOptimum
from analysis.commands.train_dufm import TrainDufm
from analysis.report import Report

MOST_CHILDREN = 1000

GridValues = Annotated[tuple[Any, ...], Field(min_length=1, max_length=MOST_CHILDREN)]


class SweepDufm(Command):
    """Train or search at every point of a grid of parameters: each point and repeat is a job of its own."""

    kind: Literal["sweep_dufm"]
    base: Annotated[TrainDufm | FindDufmOptimum, Field(discriminator="kind")] = Field(
        description="the parameters that all have in common, with their `kind`"
    )
    grid: dict[str, GridValues] = Field(
        min_length=1, max_length=4, description="parameter → values; every combination is a cell"
    )
    repeats: WholeNumber = Field(
        default=1, ge=1, le=MOST_CHILDREN, description="jobs per cell, each with seeds of its own"
    )

    @model_validator(mode="after")
    def _every_cell_is_valid(self) -> SweepDufm:
        known = set(type(self.base).model_fields) - {"kind", "seed"}
        for name in self.grid:
            if name not in known:
                raise ValueError(
                    f"grid: {self.base.kind} has no parameter {name[:64]!r}: it has {', '.join(sorted(known))}"
                )
        number = prod(map(len, self.grid.values())) * self.repeats
        if number > MOST_CHILDREN:
            raise ValueError(f"grid × repeats makes {number} jobs, the limit is {MOST_CHILDREN}: take fewer values")
        for values in self.cells():
            try:
                self.child(values, repeat=0)
            except ValidationError as error:
                first = error.errors()[0]
                reason = first["msg"].removeprefix("Value error, ")
                raise ValueError(f"grid: at {values} the job is not valid: {reason}") from error
        return self

    def cells(self) -> Iterator[dict[str, Any]]:
        """Every combination of the grid's values, the last parameter fastest."""
        for combination in product(*self.grid.values()):
            yield dict(zip(self.grid, combination, strict=True))

    def child(self, values: dict[str, Any], *, repeat: int) -> TrainDufm | FindDufmOptimum:
        """The command of one cell and repeat; repeats use seeds that do not overlap."""
        stride = self.base.runs if isinstance(self.base, TrainDufm) else 1
        parameters = {**self.base.model_dump(exclude_unset=True), "kind": self.base.kind, **values}
        stride = max(stride, int(parameters.get("runs", 1)))
        return type(self.base).model_validate({**parameters, "seed": self.base.seed + repeat * stride})

    def children(self) -> Sequence[TrainDufm | FindDufmOptimum]:
        """Cell by cell, its repeats side by side."""
        return [self.child(values, repeat=repeat) for values in self.cells() for repeat in range(self.repeats)]

    def run(self, surroundings: Surroundings) -> Report:
        """Put together what the children found."""
        from analysis.dufm.sweep import collect

        return collect(self, surroundings)

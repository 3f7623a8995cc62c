"""Reports of every kind, as JSON, from real jobs; hostile ones from those by renaming."""

import copy
import itertools
import json

import pytest
import torch
from dufm_models import Here

from analysis.commands import FindDufmOptimum, TrainDufm
from analysis.commands.reproduce_figure import ReproduceFigure
from analysis.dufm.figures_of_paper import fig3_middle
from analysis.dufm.report import Sweep, SweepCell


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small tensors are slower on two threads than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(command):
    return json.loads(command.run(Here()).model_dump_json())


def sweep_report(base, grid, values):
    """A sweep over this grid, whose cells have these numbers, None where they run out."""
    numbers = itertools.chain(values, itertools.repeat(None))
    cells = [
        SweepCell(
            values=dict(zip(grid, combination, strict=True)),
            jobs=("job_1",),
            succeeded=1,
            failed=0,
            cancelled=0,
            diverged=0,
            losses=(),
            loss=number,
            loss_over_dnc=number,
            rank_mean=number,
            dnc_share=number,
            structures={},
        )
        for combination, number in zip(itertools.product(*grid.values()), numbers, strict=False)
    ]
    sweep = Sweep(kind="train_dufm", grid=grid, repeats=1, cells=tuple(cells), failures=())
    empty = {"kind": "sweep_dufm", "layers": [], "catalogue": {}, "summary": None, "training": None}
    return {**base, **empty, "sweep": json.loads(sweep.model_dump_json())}


@pytest.fixture(scope="session")
def trained():
    return run(TrainDufm(kind="train_dufm", num_classes=4, depth=3, width=6, runs=3, samples_per_class=2, steps=60))


@pytest.fixture(scope="session")
def diverged():
    return run(TrainDufm(kind="train_dufm", num_classes=2, depth=2, width=3, runs=2, learning_rate=5000, steps=50))


@pytest.fixture(scope="session")
def single():
    """One run of one layer: no ReLU, no deviation, one sample a class and so no variability."""
    return run(TrainDufm(kind="train_dufm", num_classes=2, depth=1, width=2, steps=20))


@pytest.fixture(scope="session")
def optimum():
    return run(FindDufmOptimum(kind="find_dufm_optimum", num_classes=3, depth=3, restarts=2, budget_seconds=2))


@pytest.fixture(scope="session")
def reproduced():
    return run(ReproduceFigure(kind="reproduce_figure", figure="fig2-top", scale=0.001))


@pytest.fixture(scope="session")
def curve():
    """A reproduction whose one panel has points with deviations."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fig3_middle, "DECAYS", (0.002, 0.004))
        return run(ReproduceFigure(kind="reproduce_figure", figure="fig3-middle", scale=1e-4))


@pytest.fixture(scope="session")
def sweeps(trained):
    numbers = [0.5, 0.9, 1.0, 1.2, 0.7]
    return {
        "numbers": sweep_report(trained, {"weight_decay": [0.001, 0.004, 0.016]}, numbers),
        "words": sweep_report(trained, {"optimizer": ["gd", "adam"]}, numbers),
        "two": sweep_report(trained, {"width": [10, 20, [3, 4]], "depth": [2, 3]}, numbers),
        "three": sweep_report(trained, {"width": [10, 20], "depth": [2, 3], "optimizer": ["gd", "adam"]}, numbers),
        "four": sweep_report(trained, {name: [1, 2] for name in ("width", "depth", "runs", "steps")}, numbers),
        "many": sweep_report(
            trained, {"width": [1], "depth": [2], "samples_per_class": list(range(1, 101))}, range(1, 101)
        ),
        "one": sweep_report(trained, {"width": [10]}, numbers),
    }


@pytest.fixture(scope="session")
def reports(trained, diverged, single, optimum, reproduced, curve, sweeps):
    """Every kind of report, by name."""
    made = {"trained": trained, "diverged": diverged, "single": single, "optimum": optimum}
    return {**made, "reproduced": reproduced, "curve": curve, **{f"sweep of {name}": it for name, it in sweeps.items()}}


@pytest.fixture
def renamed():
    """A factory: a report and a function of a name → the same report with all its layers renamed."""

    def make(report, rename):
        report = copy.deepcopy(report)
        for layer in [*report["layers"], *report["summary"]["layers"]]:
            layer["name"] = rename(layer["name"])
        trajectory = report["training"]["trajectory"]
        for bands in [trajectory["singular_values"], *trajectory["metrics"].values()]:
            for name in list(bands):
                bands[rename(name)] = bands.pop(name)
        for cells in report["training"]["runs"]:
            cells["ranks"] = {rename(name): rank for name, rank in cells["ranks"].items()}
        return report

    return make

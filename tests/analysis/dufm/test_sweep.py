"""Cells, failures and the table of a sweep, from children in every state."""

import csv
import io
import subprocess
import sys
from math import inf

import pytest

from analysis.commands import ChildJob, SweepDufm
from analysis.dufm.report import References, TrainingRun
from analysis.dufm.sweep import TABLE, collect


class Kept:
    """The surroundings of a parent whose children have ended."""

    job_id, run, step, device, service_version = "job_parent", "r", 3, "cpu", "test"

    def __init__(self, children, stop_after=inf):
        self._children, self._stop_after, self.files, self.told = children, stop_after, {}, []

    def children(self):
        return self._children

    def keep_artifact(self, name, content):
        self.files[name] = content

    def progress(self, *, phase, current, total):
        self.told.append((phase, current, total))
        if len(self.told) > self._stop_after:
            raise InterruptedError


def training_run(seed, loss, structure, rank=2, stop_reason="converged"):
    return TrainingRun(
        seed=seed, loss=loss, fit=loss, regularization=0.0, ranks={"H_2": rank, "H_3": rank}, structure=structure,
        stop_reason=stop_reason, steps=10, gradient_norm=0.0,
    )  # fmt: skip


def references(dnc=0.25, **reasons):
    return References(
        effective_decay=0.1, zero=0.5, dnc=dnc, srg=None, best_known=None, lower_bound=0.0, reasons=reasons
    ).model_dump(mode="json")


def trained(*runs, **given):
    training = {"runs": [run.model_dump(mode="json") for run in runs], "references": references(**given)}
    return {"training": training, "optimum": None, "environment": {"seed": runs[0].seed}}


def job(number, report=None, status="succeeded", code=None, detail=None):
    return ChildJob(f"job_{number}", "train_dufm", status, {"kind": "train_dufm"}, code, detail, report)


@pytest.fixture
def command():
    base = {"kind": "train_dufm", "num_classes": 3, "depth": 3, "samples_per_class": 2, "runs": 2, "seed": 10}
    grid = {"loss": ["mse", "cross_entropy"], "width": [5, [5, 6, 7]]}
    return SweepDufm(kind="sweep_dufm", base=base, grid=grid, repeats=2)


@pytest.fixture
def children():
    return [
        job(0, trained(training_run(10, 0.2, "dnc", rank=3), training_run(11, 0.1, "low_rank"))),
        job(1, trained(training_run(12, 0.25, "dnc", rank=3), training_run(13, 9.0, None, None, "diverged"))),
        job(2, status="failed", code="out_of_memory", detail="Send fewer."),
        job(3, trained(training_run(12, 0.3, "other"), training_run(13, 0.3, "other"))),
        job(4, trained(training_run(10, 0.7, "other"), training_run(11, 0.6, "dnc"), dnc=None)),
        job(5, status="cancelled"),
        job(6, trained(training_run(10, 9.0, None, None, "diverged"), training_run(11, 9.0, None, None, "diverged"))),
        job(7, status="cancelled"),
    ]


def test_each_cell_tells_of_its_own_children(command, children):
    report = collect(command, Kept(children))
    cells = report.sweep.cells
    assert [cell.values for cell in cells] == [
        {"loss": loss, "width": width} for loss in ("mse", "cross_entropy") for width in (5, [5, 6, 7])
    ]
    assert [cell.jobs for cell in cells] == [(f"job_{n}", f"job_{n + 1}") for n in (0, 2, 4, 6)]
    first = cells[0]
    assert (first.succeeded, first.failed, first.cancelled, first.diverged) == (2, 0, 0, 1)
    assert (first.losses, first.loss, first.loss_over_dnc) == ((0.2, 0.1, 0.25), 0.1, pytest.approx(0.4))
    assert (first.rank_mean, first.dnc_share) == (pytest.approx(8 / 3), pytest.approx(2 / 3))
    assert (first.structures, first.reasons) == ({"dnc": 2, "low_rank": 1}, {})
    assert [(cell.succeeded, cell.failed, cell.cancelled) for cell in cells[1:]] == [(1, 1, 0), (1, 0, 1), (1, 0, 1)]
    assert cells[1].loss_over_dnc == pytest.approx(1.2)


def test_what_is_undefined_has_a_reason(command, children):
    children[4] = job(4, trained(training_run(10, 0.7, "other"), dnc=None))
    children[4].report["training"]["references"]["reasons"] = {"dnc": "squared error only"}
    cells = collect(command, Kept(children)).sweep.cells
    assert (cells[2].loss, cells[2].loss_over_dnc) == (0.7, None)
    assert cells[2].reasons == {"loss_over_dnc": "squared error only"}
    diverged = cells[3]
    assert (diverged.loss, diverged.loss_over_dnc, diverged.rank_mean, diverged.dnc_share) == (None,) * 4
    assert set(diverged.reasons) == {"loss", "loss_over_dnc", "rank_mean", "dnc_share"}
    assert set(diverged.reasons.values()) == {"every run diverged"}
    for cell in cells:
        assert {name for name, value in cell.model_dump().items() if value is None} == set(cell.reasons)


def test_children_without_result_are_told(command, children):
    report = collect(command, Kept(children))
    told = [(failure.job_id, failure.status, failure.code, failure.detail) for failure in report.sweep.failures]
    assert told == [
        ("job_2", "failed", "out_of_memory", "Send fewer."),
        ("job_5", "cancelled", None, None),
        ("job_7", "cancelled", None, None),
    ]
    assert report.sweep.failures[0].values == {"loss": "mse", "width": [5, 6, 7]}
    assert [warning.code for warning in report.warnings] == ["jobs_without_result", "cells_without_result"]
    assert "3 of 8 jobs" in report.warnings[0].detail
    assert "1 of 4 cells" in report.warnings[1].detail


def test_a_sweep_of_which_nothing_is_left_still_reports(command):
    report = collect(command, Kept([job(n, status="failed", code="x", detail="y") for n in range(8)]))
    assert len(report.sweep.failures) == 8
    assert {cell.reasons["loss"] for cell in report.sweep.cells} == {"no job succeeded: see failures"}
    assert "4 of 4 cells" in report.warnings[1].detail


def test_the_head_of_the_report_is_that_of_the_base(command, children):
    report = collect(command, Kept(children))
    assert (report.num_samples, report.num_classes, report.class_counts) == (6, 3, {"0": 2, "1": 2, "2": 2})
    assert (report.job_id, report.kind, report.run, report.step) == ("job_parent", "sweep_dufm", "r", 3)
    assert (report.sweep.kind, report.sweep.repeats, report.environment.seed) == ("train_dufm", 2, 10)
    assert (report.layers, report.artifacts) == ((), (TABLE,))
    assert report.model_validate_json(report.model_dump_json()) == report


def test_the_table_has_a_row_for_each_run(command, children):
    surroundings = Kept(children)
    collect(command, surroundings)
    rows = list(csv.DictReader(io.StringIO(surroundings.files[TABLE].decode())))
    assert list(rows[0]) == [
        "parameter_loss", "width",
        "seed", "loss", "fit", "regularization", "rank", "structure", "stop_reason", "job_id",
    ]  # fmt: skip
    assert len(rows) == 10
    assert {row["job_id"] for row in rows} == {"job_0", "job_1", "job_3", "job_4", "job_6"}
    assert rows[0] == {
        "parameter_loss": "mse", "width": "5", "seed": "10", "loss": "0.2", "fit": "0.2", "regularization": "0.0",
        "rank": "3", "structure": "dnc", "stop_reason": "converged", "job_id": "job_0",
    }  # fmt: skip
    assert rows[4]["width"] == "[5, 6, 7]"
    assert (rows[3]["rank"], rows[3]["structure"], rows[3]["stop_reason"]) == ("", "", "diverged")


def test_searches_are_runs_too():
    base = {"kind": "find_dufm_optimum", "num_classes": 3, "depth": 1, "seed": 4}
    command = SweepDufm(kind="sweep_dufm", base=base, grid={"depth": [1, 2]})

    def found(loss, rank, layer):
        optimum = {
            "loss": loss, "fit": loss, "regularization": 0.0, "ranks": {layer: rank}, "structure": "dnc",
            "stopped_by": "patience", "references": references(dnc=0.2),
        }  # fmt: skip
        return {"training": None, "optimum": optimum, "environment": {"seed": 4}}

    surroundings = Kept([job(0, found(0.2, 3, "output")), job(1, found(0.1, 2, "H_2"))])
    cells = collect(command, surroundings).sweep.cells
    assert [(cell.losses, cell.rank_mean, cell.loss_over_dnc, cell.dnc_share) for cell in cells] == [
        ((0.2,), 3.0, 1.0, 1.0),
        ((0.1,), 2.0, 0.5, 1.0),
    ]
    (_, first, _) = surroundings.files[TABLE].decode().splitlines()
    assert first == "1,4,0.2,0.2,0.0,3,dnc,patience,job_0"


def test_it_can_be_stopped_between_children(command, children):
    surroundings = Kept(children, stop_after=3)
    with pytest.raises(InterruptedError):
        collect(command, surroundings)
    assert surroundings.told == [("collecting", n, 8) for n in range(4)]


def test_it_needs_no_torch():
    code = "import sys, analysis.dufm.sweep; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

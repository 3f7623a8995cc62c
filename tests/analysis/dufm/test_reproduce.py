"""The paper's figures, done again at a small scale: panels, statements with their numbers, and how they are judged."""

import json

import pytest
from dufm_models import Here
from spread_jobs import Spread

from analysis.commands.reproduce_figure import ReproduceFigure
from analysis.dufm.figures_of_paper import experiment, fig3_middle, fig3_right
from analysis.errors import ChildFailed

PANELS_OF = {"fig2-top": 3, "fig3-middle": 1, "fig3-right": 1, "fig5": 1, "fig6": 1}


@pytest.fixture(scope="module", params=sorted(PANELS_OF))
def report(request):
    command = ReproduceFigure(kind="reproduce_figure", figure=request.param, scale=1e-4)
    with pytest.MonkeyPatch.context() as patched:  # three settings of nine and of ten
        patched.setattr(fig3_middle, "DECAYS", fig3_middle.DECAYS[::4])
        patched.setattr(fig3_right, "WIDTHS", fig3_right.WIDTHS[::4])
        return request.param, command.run(Here())


def test_a_reproduction_has_panels_and_statements_with_their_numbers(report):
    figure, found = report
    reproduction = found.reproduction
    assert (reproduction.figure, reproduction.scale) == (figure, 1e-4)
    assert len(reproduction.panels) >= PANELS_OF[figure]
    assert all(panel.rows for panel in reproduction.panels)
    for panel in reproduction.panels:
        columns = set().union(*panel.rows)
        assert {panel.encoding[axis] for axis in ("x", "y") if axis in panel.encoding} <= columns | {"x", "y"}
    assert reproduction.statements
    for statement in reproduction.statements:
        assert statement.agrees in (True, False, None)
        assert statement.source
        assert statement.measured
    json.loads(found.model_dump_json())


def test_the_same_seed_gives_the_same_figure():
    command = ReproduceFigure(kind="reproduce_figure", figure="fig5", scale=1e-4, seed=3)
    first, again = (command.run(Here()).reproduction for _ in range(2))
    assert first == again


def test_the_losses_of_fig2_are_those_of_its_model():
    found = ReproduceFigure(kind="reproduce_figure", figure="fig2-top", scale=1e-4).run(Here())
    first, known = found.reproduction.statements[0], found.training.references
    assert first.agrees is True
    assert (first.measured["srg_loss"], first.measured["dnc_loss"]) == (known.srg.loss, known.dnc)
    assert known.srg.loss < known.dnc


@pytest.mark.parametrize("figure", ["fig5"])
def test_trainings_as_jobs_of_their_own_give_the_same_figure(tmp_path, monkeypatch, figure):
    monkeypatch.setattr(experiment, "WORTH_JOBS", 0.0)
    command = ReproduceFigure(kind="reproduce_figure", figure=figure, scale=1e-4)
    many = Spread(tmp_path, [], spread_bytes=1)
    spread, alone = many.report_of(command), command.run(Here())
    assert len(many.jobs) >= 3
    assert {job.kind for job in many.jobs} == {"train_dufm"}
    assert spread.reproduction == alone.reproduction
    assert spread.training == alone.training
    assert [layer.metrics for layer in spread.layers] == [layer.metrics for layer in alone.layers]


def test_a_training_that_fails_fails_the_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "WORTH_JOBS", 0.0)
    many = Spread(tmp_path, [], spread_bytes=1, fails=1)
    with pytest.raises(ChildFailed, match="broken part"):
        many.report_of(ReproduceFigure(kind="reproduce_figure", figure="fig5", scale=1e-4))


def test_what_progress_raises_stops_a_reproduction():
    class Stopped(Exception):
        pass

    def stop(**_):
        raise Stopped

    here = Here()
    here.progress = stop
    with pytest.raises(Stopped):
        ReproduceFigure(kind="reproduce_figure", figure="fig6", scale=0.01).run(here)

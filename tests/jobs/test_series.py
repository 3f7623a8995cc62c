"""Series of one run and of two, on SQLite and on PostgreSQL."""

import pytest

from jobs import series as module
from jobs.errors import NotFound
from jobs.series import Series, Wanted


@pytest.fixture
def rows(runs):
    """The rows of a series: run, and what is wanted."""

    def read(run, **wanted):
        return [row for block in Series(runs, run, Wanted(**wanted)).blocks() for row in block]

    return read


def two_layers(value):
    return {"conv": {"m": value, "n": None}, 'fc, "1"': {"m": -value, "n": 0.0}}


def test_a_row_for_each_step_layer_and_metric(rows, analyse) -> None:
    ids = {step: analyse("r", step, two_layers(float(step))) for step in (10, 2, 0)}
    without = analyse("r", None, two_layers(7.0))
    assert [tuple(row) for row in rows("r")] == [
        ("r", step, layer, index, metric, value, job_id)
        for step, job_id, number in ((0, ids[0], 0.0), (2, ids[2], 2.0), (10, ids[10], 10.0), (None, without, 7.0))
        for layer, index, values in (("conv", 0, (number, None)), ('fc, "1"', 1, (-number, 0.0)))
        for metric, value in zip("mn", values, strict=True)
    ]


@pytest.mark.parametrize("at_once", [1, 2, 7, 10_000])
def test_blocks_join_without_seam(rows, analyse, monkeypatch, at_once) -> None:
    for step in range(9):
        analyse("r", step, two_layers(float(step)))
    expected = rows("r")
    monkeypatch.setattr(module, "ROWS_AT_ONCE", at_once)
    assert rows("r") == expected
    assert len(expected) == 36


def test_metrics_and_layers_are_chosen(rows, analyse) -> None:
    for step in range(3):
        analyse("r", step, two_layers(1.0))
    assert {(row.metric, row.layer) for row in rows("r", metrics=["m"])} == {("m", "conv"), ("m", 'fc, "1"')}
    assert {(row.metric, row.layer) for row in rows("r", layers=["conv"])} == {("m", "conv"), ("n", "conv")}
    assert len(rows("r", layers=["conv", "conv"], metrics=["n", "m"])) == 6


def test_a_step_that_was_sent_again_counts_once(rows, jobs, analyse, new_job) -> None:
    first = analyse("r", 1, {"a": {"m": 1.0}})
    second = analyse("r", 1, {"a": {"m": 2.0}})
    third, _ = jobs.create(new_job(run="r", step=1))
    assert [(row.value, row.job_id) for row in rows("r")] == [(2.0, second)]
    assert [(row.value, row.job_id) for row in rows("r", history=True)] == [(1.0, first), (2.0, second)]
    token = jobs.claim(third.id, lease_seconds=10).lease_token
    jobs.fail(third.id, token, code="c", detail="d")
    assert [row.job_id for row in rows("r")] == [second]
    jobs.delete(second)
    assert [row.job_id for row in rows("r")] == [first]


def test_history_is_by_step_then_by_time(rows, analyse) -> None:
    ids = [analyse("r", step, {"a": {"m": 1.0}}) for step in (2, 1, None, 2, 1)]
    assert [row.job_id for row in rows("r", history=True)] == [ids[index] for index in (1, 4, 0, 3, 2)]


def test_another_run_follows(rows, analyse) -> None:
    analyse("r", 1, {"a": {"m": 1.0}})
    analyse("s", 3, {"b": {"m": 2.0, "n": 3.0}})
    assert [(row.run, row.layer, row.metric) for row in rows("r", compare="s")] == [
        ("r", "a", "m"), ("s", "b", "m"), ("s", "b", "n"),
    ]  # fmt: skip
    assert [row.run for row in rows("r", compare="s", metrics=["n"])] == ["s"]
    assert rows("r", compare="r") == rows("r")
    with pytest.raises(NotFound, match="'nowhere'"):
        rows("r", compare="nowhere")


def test_what_a_run_does_not_have_is_told_with_what_it_has(rows, analyse) -> None:
    analyse("r", 1, two_layers(1.0))
    with pytest.raises(NotFound, match="no metric 'x'; its metrics: m, n") as caught:
        rows("r", metrics=["m", "x"])
    assert caught.value.code == "metric_not_found"
    with pytest.raises(NotFound, match="no layer 'x'; its layers: conv, fc") as caught:
        rows("r", layers=["x"])
    assert caught.value.code == "layer_not_found"


def test_before_the_first_report_the_series_is_empty(rows, jobs, new_job) -> None:
    jobs.create(new_job(run="r", step=1))
    assert rows("r") == rows("r", metrics=["class_mean_rank"], layers=["not yet known"]) == []
    with pytest.raises(NotFound, match="class_mean_rank"):
        rows("r", metrics=["x"])


def test_the_identity_is_that_of_the_rows(runs, jobs, analyse, new_job) -> None:
    analyse("r", 1, {"a": {"m": 1.0}})
    analyse("s", 1, {"a": {"m": 1.0}})

    def identity(**wanted):
        return Series(runs, "r", Wanted(**wanted)).identity

    first = identity()
    jobs.create(new_job(run="r", step=1))
    assert identity() == first
    different = [identity(metrics=["m"]), identity(layers=["a"]), identity(compare="s"), identity(history=True)]
    analyse("r", 2, {"a": {"m": 1.0}})
    assert len({first, *different, identity()}) == 6

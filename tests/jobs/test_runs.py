"""Runs as their jobs make them, on SQLite and on PostgreSQL."""

import random

import pytest

from jobs.errors import NotFound
from jobs.series import steps

HOSTILE = ["a/b", "100 %", "%_", "α β", "'; DROP TABLE jobs; --", "a b", "RUN", "%2F", "😀"]


def names(runs, **changes):
    return [row.run for row in runs.list(**{"query": None, "after": None, "limit": 100, **changes})]


def test_a_run_counts_its_jobs(runs, jobs, analyse, new_job, clock) -> None:
    began = clock.now
    analyse("r", 0, {"a": {"m": 1.0}})
    analyse("r", 7, {"a": {"m": 1.0}})
    analyse("r", 7, {"a": {"m": 2.0}})
    analyse("r", None, {"a": {"m": 2.0}})
    jobs.create(new_job(run="r", step=9))
    jobs.create(new_job(run="other", step=1))
    row = runs.get("r")
    assert (row.num_jobs, row.num_steps, row.first_step, row.last_step) == (5, 3, 0, 9)
    assert row.jobs == {"succeeded": 4, "queued": 1}
    assert (row.created_at - began).total_seconds() == 1
    assert row.updated_at == clock.now
    assert row in runs.list(query="r", after=None, limit=10)


def test_a_run_without_steps_has_no_first_and_no_last(runs, jobs, new_job) -> None:
    jobs.create(new_job(run="r"))
    row = runs.get("r")
    assert (row.num_jobs, row.num_steps, row.first_step, row.last_step) == (1, 0, None, None)


def test_what_is_no_run_is_told(runs, jobs, new_job) -> None:
    jobs.create(new_job(run=None, step=1))
    for look in (runs.get, runs.analyses):
        with pytest.raises(NotFound, match="GET /v1/runs") as caught:
            look("r")
        assert caught.value.code == "run_not_found"
    assert names(runs) == []


def test_the_last_changed_comes_first_and_pages_hold_every_run_once(runs, jobs, analyse, new_job, clock) -> None:
    for number in range(11):
        if number % 3 == 0:
            clock.move(1)  # several runs share a moment
        jobs.create(new_job(run=f"run{number}"))
    analyse("run0", 1, {"a": {"m": 1.0}})
    whole = names(runs)
    assert whole[0] == "run0"
    assert len(whole) == 11
    seen, after = [], None
    while page := runs.list(query=None, after=after, limit=3):
        seen += [row.run for row in page]
        after = (page[-1].updated_at, page[-1].run)
    assert seen == whole


def test_a_part_of_the_name_finds_runs(runs, jobs, new_job) -> None:
    for run in HOSTILE:
        jobs.create(new_job(run=run))
    assert names(runs, query="%") == [run for run in names(runs) if "%" in run]
    assert names(runs, query="_") == ["%_"]
    assert set(names(runs, query="un")) == {"RUN"}
    assert set(names(runs, query="drop table")) == {HOSTILE[4]}
    assert names(runs, query="nowhere") == []
    for run in HOSTILE:
        assert runs.get(run).run == run


def test_the_newest_that_succeeded_counts_and_replaces(runs, jobs, analyse, new_job, clock) -> None:
    first = analyse("r", 5, {"a": {"m": 1.0}})
    clock.move(1)
    failed, _ = jobs.create(new_job(run="r", step=5))
    jobs.request_cancel(failed.id)
    second = analyse("r", 5, {"a": {"m": 2.0}})
    clock.move(1)
    queued, _ = jobs.create(new_job(run="r", step=5))
    alone, _ = jobs.create(new_job(run="r", step=6))
    without = [analyse("r", None, {"a": {"m": 3.0}}) for _ in range(2)]
    found = steps(runs.analyses("r"))
    assert [step.current.step for step in found] == [5, 6, None, None]
    assert found[0].current.job_id == second
    assert (found[0].replaced, found[0].others) == ([first], [queued.id, failed.id])
    assert found[1].current.job_id == alone.id
    assert [step.current.job_id for step in found[2:]] == without[::-1]
    assert all(not step.replaced and not step.others for step in found[1:])


def test_what_was_submitted_later_counts_though_it_ended_earlier(runs, jobs, new_job, clock) -> None:
    ids, tokens = [], []
    for _ in range(2):
        clock.move(1)
        job, _ = jobs.create(new_job(run="r", step=1))
        ids.append(job.id)
        tokens.append(jobs.claim(job.id, lease_seconds=10).lease_token)
    for index in (1, 0):
        clock.move(1)
        jobs.succeed(ids[index], tokens[index], body="{}", etag="e", measurements=[])
    (step,) = steps(runs.analyses("r"))
    assert (step.current.job_id, step.replaced) == (ids[1], [ids[0]])


def test_kinds_do_not_replace_each_other(runs, analyse) -> None:
    analyse("r", 1, {"a": {"m": 1.0}})
    analyse("r", 1, {"a": {"m": 1.0}}, kind="train_dufm")
    assert [step.replaced for step in steps(runs.analyses("r"))] == [[], []]


def test_contents_are_all_layers_and_metrics_of_the_run(runs, jobs, analyse, new_job) -> None:
    generator = random.Random(0)
    expected_layers, expected_metrics = {}, set()
    for step in range(30):
        layers = {f"layer{number}": {} for number in generator.sample(range(12), generator.randrange(1, 6))}
        for index, (layer, metrics) in enumerate(layers.items()):
            metrics.update({f"m{number}": None for number in generator.sample(range(9), generator.randrange(1, 5))})
            expected_layers.setdefault(layer, []).append(index)
            expected_metrics |= set(metrics)
        analyse("r", step, layers)
    analyse("other", 1, {"theirs": {"theirs": 1.0}})
    contents = runs.contents("r")
    assert set(contents.layers) == set(expected_layers)
    assert set(contents.metrics) == expected_metrics
    jobs.create(new_job(run="empty"))
    assert (runs.contents("empty").layers, runs.contents("empty").metrics) == ([], [])


def test_layers_are_in_the_order_of_their_index(runs, analyse) -> None:
    order = ["layer10", "layer2", "α", "", "Z", "a, 'b'"]
    analyse("r", 1, {layer: {"m": 1.0, "n": 2.0} for layer in order})
    assert list(runs.contents("r").layers) == order


def test_what_is_deleted_is_gone(runs, jobs, analyse) -> None:
    first = analyse("r", 1, {"a": {"m": 1.0}})
    second = analyse("r", 1, {"b": {"n": 1.0}})
    jobs.delete(second)
    (step,) = steps(runs.analyses("r"))
    assert (step.current.job_id, runs.contents("r").layers) == (first, ["a"])
    jobs.delete(first)
    assert names(runs) == []

"""The summary follows from the numbers by its rules."""

import json

import numpy as np
import pytest

from analysis.commands import MeasureCollapse
from analysis.metrics import REGISTRY


@pytest.fixture
def deep(simplex):
    """Three layers of ten classes: noisy of full rank, the incidence matrix of the edges of K5, and a frame."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 20)
    edges = [(i, j) for i in range(5) for j in range(i)]
    incidence = np.zeros((10, 5))
    for row, edge in enumerate(edges):
        incidence[row, list(edge)] = 1
    noise = generator.normal(size=(200, 12))
    return {
        "labels": labels,
        "features.layer1": 0.4 * generator.normal(size=(10, 12))[labels] + noise,
        "features.layer2": np.pad(incidence, ((0, 0), (0, 7)))[labels] + 0.001 * noise,
        "features.layer3": np.eye(10, 12)[labels] + 0.001 * noise,
    }


def run(here, **parameters):
    return MeasureCollapse(kind="measure_collapse", features="f", **parameters).run(here)


def test_layers_are_judged_by_the_catalogue(deep, surroundings):
    report = run(surroundings(deep))
    first, second, third = report.summary.layers
    assert (first.collapsed, second.collapsed, third.collapsed) == (False, True, True)
    assert report.summary.collapsed_layers == ("layer2", "layer3")
    assert (first.structure, second.structure, third.structure) == (
        "none",
        "strongly_regular_graph",
        "orthogonal_frame",
    )
    assert (first.rank, second.rank, third.rank) == (10, 5, 10)
    assert (first.centered_rank, second.centered_rank, third.centered_rank) == (9, 4, 9)
    assert (first.rank_is, second.rank_is, third.rank_is) == ("full", "low", "full")
    assert {(summary.dnc_rank, summary.srg_rank) for summary in report.summary.layers} == {(10, 5.0)}
    [drop] = report.summary.rank_drops
    assert (drop.before, drop.after, drop.rank_before, drop.rank_after) == ("layer1", "layer2", 10, 5)
    assert report.summary.since_previous_step is None
    for layer, summary in zip(report.layers, report.summary.layers, strict=True):
        for name, entry in report.catalogue.items():
            value = layer.metrics[name]
            if entry.threshold is None or value is None:
                assert name not in summary.by + summary.not_by
                continue
            reached = value >= entry.threshold if entry.direction == "higher" else value <= entry.threshold
            assert name in (summary.by if reached else summary.not_by)
        assert set(summary.deciding) == {"variability_trace_ratio", "nearest_center_accuracy"}
        assert summary.collapsed == all(found.reached for found in summary.deciding.values())


def test_thresholds_lie_on_the_side_of_the_ideal():
    for name, metric in REGISTRY.items():
        entry = metric.entry
        if entry.threshold is not None:
            assert isinstance(entry.ideal, float), name
            assert entry.direction == ("higher" if entry.threshold < entry.ideal else "lower"), name
        assert entry.threshold is not None or not entry.decides


def test_what_was_not_measured_is_not_judged(deep, surroundings):
    report = run(surroundings(deep), metrics=["equinorm"])
    assert [summary.collapsed for summary in report.summary.layers] == [None] * 3
    assert [summary.rank for summary in report.summary.layers] == [None] * 3
    assert report.summary.rank_drops == ()


def test_changes_since_the_step_before(deep, surroundings):
    here = surroundings(deep)
    earlier = run(here)
    here.previous = json.loads(earlier.model_dump_json()) | {"step": 3, "job_id": "job_0"}
    collapsed = dict(deep)
    collapsed["features.layer1"] = deep["features.layer3"]
    later = surroundings(collapsed)
    later.previous = here.previous
    since = run(later).summary.since_previous_step
    assert (since.job_id, since.step) == ("job_0", 3)
    first = since.layers[0]
    assert (first.collapsed_before, first.collapsed_now) == (False, True)
    assert (first.structure_before, first.structure_now) == ("none", "orthogonal_frame")
    assert (first.rank.before, first.rank.now) == (10, 10)
    change = first.metrics["variability_trace_ratio"]
    assert change.before == earlier.layers[0].metrics["variability_trace_ratio"]
    assert change.now < 0.1 < change.before


def test_a_report_from_before_there_were_summaries(deep, surroundings):
    here = surroundings(deep)
    body = json.loads(run(here).model_dump_json())
    del body["summary"]
    body["layers"] = [{"name": "layer2", "metrics": {"equinorm": 0.5}}]
    here.previous = body
    [change] = run(here).summary.since_previous_step.layers
    assert change.name == "layer2"
    assert change.collapsed_before is None
    assert list(change.metrics) == ["equinorm"]

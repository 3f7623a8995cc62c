"""What a report says in words: over HTTP, on the page, and sentence by sentence."""

import pytest
from feature_files import feature_arrays

from api.verdict import verdict

SQLITE = pytest.mark.parametrize("make_database", ["sqlite"], indirect=True)  # which has no part in this


def summary_of(*layers, drops=(), since=None, num_classes=10, forms=None):
    """A report with these layers: changes of one that has not collapsed."""
    summaries = [
        {
            "name": f"layer{index}",
            "collapsed": False,
            "deciding": {"variability_trace_ratio": {"value": 0.5, "threshold": 0.1, "reached": False}},
            "rank": 10,
            "rank_is": "full",
            "dnc_rank": 10,
            "srg_rank": 5.0,
            **changes,
        }
        for index, changes in enumerate(layers)
    ]
    structures = forms or [None] * len(layers)
    return {
        "num_classes": num_classes,
        "layers": [
            {"name": layer["name"], "structure": structure}
            for layer, structure in zip(summaries, structures, strict=True)
        ],
        "summary": {"layers": summaries, "rank_drops": list(drops), "since_previous_step": since},
    }


def drop(index, before, after):
    return {"before": f"layer{index}", "after": f"layer{index + 1}", "rank_before": before, "rank_after": after}


NONE, YES, NO = {"collapsed": None, "deciding": {}}, {"collapsed": True}, {"collapsed": False}
HIGHER = {"deciding": {"nearest_center_accuracy": {"value": 0.5, "threshold": 0.99, "reached": False}}}


@pytest.mark.parametrize(
    ("layers", "sentences"),
    [
        ([NONE, NONE], ["Whether the layers have collapsed is not known: no metric that decides it was measured."]),
        ([YES], ["The layer layer0 has collapsed."]),
        (
            [NO],
            [
                "The layer layer0 has not collapsed.",
                "The layer layer0 has variability trace ratio 0.5 (collapsed: at most 0.1).",
            ],
        ),
        (
            [NO, HIGHER],
            [
                "None of the 2 layers has collapsed.",
                "The layer layer1 has nearest center accuracy 0.5 (collapsed: at least 0.99).",
            ],
        ),
        ([YES, YES], ["All 2 layers have collapsed."]),
        ([NO, YES, NO], ["1 of 3 layers has collapsed: layer1."]),
        (
            [YES, NO, YES, NONE],
            [
                "2 of 3 layers have collapsed: layer0 and layer2.",
                "Whether 1 other layer collapsed is not known: no metric that decides it was measured there.",
            ],
        ),
    ],
)
def test_collapsed_layers_are_told_first(layers, sentences) -> None:
    told = verdict(summary_of(*layers))
    assert told[: len(sentences)] == sentences
    assert told[len(sentences)].startswith("In the last layer, ")


def test_structures_are_told_by_form() -> None:
    graph = {"kind": "strongly_regular_graph", "name": "triangular graph T(5)"}
    frame, none = {"kind": "orthogonal_frame", "name": "orthogonal frame"}, {"kind": "none", "name": None}
    told = verdict(summary_of({}, {}, {}, {}, forms=[none, frame, graph, graph]))
    assert (
        "The class means take the form of an orthogonal frame in layer1; the form of a triangular graph T(5) in "
        "layer2 and layer3; no symmetric form in layer0." in told
    )
    assert any(
        sentence.startswith("In no layer do the class means") for sentence in verdict(summary_of({}, forms=[none]))
    )
    assert not any("form" in sentence for sentence in verdict(summary_of({})))


@pytest.mark.parametrize(
    ("ranks", "drops", "sentence"),
    [
        ([10, 10], [], "The rank is the same in every layer."),
        ([5, 10], [], "Along depth the rank goes from 5 to 10, and nowhere down."),
        ([10, 5], [drop(0, 10, 5)], "Along depth the rank drops from 10 in layer0 to 5 in layer1."),
        (
            [10, None],
            [],
            "In layer0, the class means of the 10 classes have rank 10 (full); deep neural collapse has 10, "
            "the strongly regular graph 5.",
        ),
    ],
)
def test_ranks_are_told_along_depth(ranks, drops, sentence) -> None:
    assert verdict(summary_of(*({"rank": rank} for rank in ranks), drops=drops))[-1] == sentence


def test_of_many_drops_the_first_are_told() -> None:
    told = verdict(
        summary_of(*({"rank": 9 - rank} for rank in range(7)), drops=[drop(i, 9 - i, 8 - i) for i in range(6)])
    )
    assert told[-1].endswith("from 6 in layer3 to 5 in layer4, and 2 more times.")


def test_no_graph_is_told_where_there_is_none() -> None:
    assert "deep neural collapse has 10." in verdict(summary_of({"srg_rank": 3.7}))[-1]


def test_what_was_not_measured_before_has_not_changed() -> None:
    layer = {
        "name": "layer0",
        "collapsed_before": None,
        "collapsed_now": True,
        "structure_before": None,
        "structure_now": "simplex_etf",
        "rank": {"before": None, "now": 5},
    }
    since = {"step": 3, "job_id": "job_1", "layers": [layer]}
    told = verdict(summary_of({}, since=since))[-1]
    assert told == "Since step 3: no layer has changed its verdict, structure or rank."
    changed = {**layer, "collapsed_before": False, "structure_before": "none", "rank": {"before": 10.0, "now": 5}}
    told = verdict(summary_of({}, since={**since, "layers": [changed]}))[-1]
    assert told == "Since step 3: collapsed: layer0; another structure: layer0; another rank: layer0 (10 → 5)."


def training(*losses, dnc=0.1):
    runs = [
        {"loss": loss, "seed": seed, "structure": None if loss is None else "other"} for seed, loss in enumerate(losses)
    ]
    there = [run for run in runs if run["loss"] is not None]
    best = runs.index(min(there, key=lambda run: run["loss"])) if there else None
    return {"training": {"runs": runs, "best_run": best, "references": {"dnc": dnc, "lower_bound": 0.05}}}


@pytest.mark.parametrize(
    ("losses", "sentences"),
    [
        ([None], ["The run diverged."]),
        ([None, None], ["All 2 runs diverged."]),
        (
            [0.05],
            [
                "The run ends at loss 0.05 (seed 0).",
                "That is 50 % below the loss of deep neural collapse, 0.1.",
                "Structure at the end: none of the known ones.",
                "No solution can have a loss below 0.05.",
            ],
        ),
        (
            [None, 0.4, 0.3],
            [
                "The best of 3 runs ends at loss 0.3 (seed 2).",
                "That is 3 times the loss of deep neural collapse, 0.1.",
                "Below deep neural collapse: none of 3 runs.",
                "Structure at the end: none of the known ones (2), diverged (1).",
                "No solution can have a loss below 0.05.",
            ],
        ),
        ([0.1 + 1e-9, 0.09], ["The best of 2 runs ends at loss 0.09 (seed 1)."]),
    ],
)
def test_trainings_are_told_by_their_ends(losses, sentences) -> None:
    told = verdict(training(*losses))
    assert told[: len(sentences)] == sentences


def test_equal_losses_are_told_as_equal() -> None:
    assert "That is equal to the loss of deep neural collapse, 0.1." in verdict(training(0.1 + 1e-9))
    assert "Below deep neural collapse: 1 of 2 runs." in verdict(training(0.1 - 1e-9, 0.09))


def test_a_grid_without_a_loss_says_so() -> None:
    cell = {"succeeded": 0, "failed": 1, "cancelled": 0, "loss": None, "loss_over_dnc": None, "values": {"width": 3}}
    assert verdict({"sweep": {"grid": {"width": [3]}, "cells": [cell]}}) == [
        "1 cell of width, 1 job: 1 failed.",
        "No cell of the grid has a loss.",
    ]


def test_a_report_of_nothing_says_so() -> None:
    assert verdict({}) == ["The report has no summary."]


@SQLITE
def test_the_verdict_is_served_and_stands_on_the_page(client, file_of, run_jobs) -> None:
    location = client.post("/v1/analyses", content=file_of(feature_arrays())).headers["location"]
    early = client.get(f"{location}/verdict")
    assert (early.status_code, early.json()["code"]) == (409, "job_not_finished")
    run_jobs()
    served = client.get(f"{location}/verdict")
    assert served.json() == {
        "job_id": location.rpartition("/")[2],
        "sentences": verdict(client.get(f"{location}/report").json()),
    }
    assert served.json()["sentences"][0] == "All 2 layers have collapsed."
    page = client.get(f"{location}/report.html").text
    for sentence in served.json()["sentences"]:
        assert f"<li>{sentence}</li>" in page
    again = client.get(f"{location}/verdict", headers={"If-None-Match": served.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", served.headers["etag"])


@SQLITE
def test_there_is_no_verdict_without_a_report(client, file_of) -> None:
    location = client.post("/v1/analyses", content=file_of(feature_arrays())).headers["location"]
    client.post(f"{location}/cancel")
    assert client.get(f"{location}/verdict").json()["code"] == "report_not_found"
    assert client.get("/v1/jobs/nowhere/verdict").json()["code"] == "job_not_found"

"""The catalogue of optima at a glance."""

import json

import altair
import pytest

import figures
from analysis.dufm import catalogue


@pytest.fixture(scope="module")
def entries():
    return [json.loads(entry.model_dump_json()) for entry in catalogue.entries()]


def test_a_pair_of_maps_for_each_decay_with_the_entries_numbers(entries):
    specification = figures.phase_diagram(entries)
    altair.Chart.from_dict(specification)
    decays = sorted({entry["decay"] for entry in entries})
    assert len(specification["vconcat"]) == len(decays)
    for decay, pair in zip(decays, specification["vconcat"], strict=True):
        here = [entry for entry in entries if entry["decay"] == decay]
        ranks, ratios = (
            {(row["column"], row["row"]): row["value"] for row in part["data"]["values"]} for part in pair["hconcat"]
        )
        assert ranks == {(entry["num_classes"], entry["depth"]): entry["rank"] for entry in here}
        assert ratios == {
            (entry["num_classes"], entry["depth"]): entry["loss"] / entry["references"]["dnc"] for entry in here
        }
    assert figures.png(specification).startswith(b"\x89PNG\r\n")


def test_missing_cells_and_references_stay_empty(entries):
    few = [entry for entry in entries if entry["decay"] == 0.004][:5]
    few[0] = {**few[0], "references": {**few[0]["references"], "dnc": None}}
    assert b"<svg" in figures.svg(figures.phase_diagram(few))


def test_nothing_is_no_diagram():
    with pytest.raises(ValueError, match="no optimum"):
        figures.phase_diagram([])

"""On light and on dark: all that is drawn can be seen, by the contrast of WCAG 2."""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

import figures
from analysis.dufm import catalogue as optima
from analysis.metrics import catalogue

LEAST_CONTRAST = 3.0
"""Of graphical objects (WCAG 2.2, 1.4.11)."""
MARKS = {"mark-line": "stroke", "mark-rule": "stroke", "mark-symbol": "fill", "mark-text": "fill"}
HEAT = ("gram-", "sweep-")
THEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


def channels(colour):
    """Red, green and blue, from 0 to 1, of a colour as Vega writes it."""
    if colour.startswith("#"):
        return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [int(number) / 255 for number in re.findall(r"\d+", colour)]


def luminance(colour):
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels(colour)]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(colour, other):
    low, high = sorted(map(luminance, (colour, other)))
    return (high + 0.05) / (low + 0.05)


def drawn(specification):
    """The kind, the colour and the text of all marks, in order; bands, which are not opaque, are left out."""
    for group in ElementTree.fromstring(figures.svg(specification)).iter("{http://www.w3.org/2000/svg}g"):
        kind = group.get("class", "").partition(" role-mark")[0]
        if kind in {*MARKS, "mark-rect"}:
            for shape in group:
                colour = shape.get(MARKS.get(kind, "fill"))
                if colour not in (None, "none", "transparent"):
                    assert shape.get("opacity", "1") == shape.get(f"{MARKS.get(kind, 'fill')}-opacity", "1") == "1"
                    yield kind, colour, "".join(shape.itertext())


def one_of_each(report):
    """A metric and a Gram matrix stand for all of them."""
    entries = {re.sub(r"^(metric|gram)-.*", r"\1", entry.name): entry.name for entry in figures.names(report)}
    return list(entries.values())


def colours_of_lines(specification):
    found = [(kind, colour) for kind, colour, _ in drawn(specification) if kind in MARKS]
    assert found
    return found


def assert_seen(specification):
    ground = specification["config"]["background"]
    for kind, colour in colours_of_lines(specification):
        assert contrast(colour, ground) >= LEAST_CONTRAST, (kind, colour)


def assert_labels_are_read(specification):
    """Each number stands on a cell, in the same order; a dash stands on the ground."""
    marks = list(drawn(specification))
    cells = [colour for kind, colour, _ in marks if kind == "mark-rect"]
    labels = [colour for kind, colour, text in marks if kind == "mark-text" and text != "–"]
    dashes = [colour for kind, colour, text in marks if kind == "mark-text" and text == "–"]
    assert len(cells) == len(labels) > 0
    on_ground = [specification["config"]["background"]] * len(dashes)
    for ground, label in zip([*cells, *on_ground], [*labels, *dashes], strict=True):
        assert contrast(label, ground) >= LEAST_CONTRAST, (ground, label)


def series(layers):
    return [
        {"run": run, "step": step, "layer": f"layer{index}", "layer_index": index, "metric": "m",
         "value": 1.0 + index + step, "job_id": "job_1"}
        for run in ("r", "s") for step in range(3) for index in range(layers)
    ]  # fmt: skip


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.005)


@pytest.fixture(scope="session")
def with_lines(reports):
    """Name of a figure → a report that has it; the panels of the whole figure stand in it."""
    kinds = ("diverged", "curve", "reproduced", "optimum", "trained")
    found = {name: reports[kind] for kind in kinds for name in one_of_each(reports[kind]) if not name.startswith(HEAT)}
    return {name: report for name, report in found.items() if not (name.startswith("panel-") and "figure" in found)}


@THEMES
def test_lines_and_points_are_seen(with_lines, dark):
    assert {"loss", "variability", "runs", "metrics", "ranks", "references", "figure"} <= set(with_lines)
    for name, report in with_lines.items():
        assert_seen(figures.specification(report, name, dark=dark))


@THEMES
def test_a_single_step_is_seen(diverged, dark):
    assert_seen(figures.specification(diverged, "ranks-training", dark=dark))


@THEMES
@pytest.mark.parametrize("kind", ["numbers", "words"])
def test_sweeps_over_one_parameter_are_seen(sweeps, kind, dark):
    assert_seen(figures.specification(sweeps[kind], "sweep-loss-over-dnc", dark=dark))


@THEMES
@pytest.mark.parametrize("layers", [1, 2, 7, 20, 60])
def test_series_of_few_and_many_layers_are_seen(layers, dark):
    entry = catalogue()["class_mean_condition_number"].model_dump()
    specification = figures.metric_by_step(series(layers), entry, dark=dark)
    assert_seen(specification)
    assert len({colour for kind, colour in colours_of_lines(specification) if kind == "mark-line"}) == layers


def colours_in_order(dark):
    entry = catalogue()["class_mean_condition_number"].model_dump()
    specification = figures.metric_by_step(series(5), entry, dark=dark)
    strokes = [colour for kind, colour in colours_of_lines(specification) if kind == "mark-line"]
    return list(dict.fromkeys(strokes))


@THEMES
def test_later_layers_are_lighter(dark):
    lightness = [luminance(colour) for colour in colours_in_order(dark)]
    assert len(lightness) == 5
    assert lightness == sorted(lightness)


@THEMES
@pytest.mark.parametrize("kind", ["trained", "optimum", "reproduced"])
def test_numbers_on_cells_are_read(reports, kind, dark):
    gram = next(entry.name for entry in figures.names(reports[kind]) if entry.name.startswith("gram-"))
    assert_labels_are_read(figures.specification(reports[kind], gram, dark=dark))


@THEMES
@pytest.mark.parametrize("name", ["sweep-loss", "sweep-loss-over-dnc"])
def test_numbers_and_dashes_of_sweeps_are_read(sweeps, name, dark):
    report = sweeps["three"]
    specification = figures.specification(report, name, dark=dark)
    assert any(cell["loss"] is None for cell in report["sweep"]["cells"])
    assert_labels_are_read(specification)


@THEMES
def test_numbers_of_the_phase_diagram_are_read(dark):
    entries = [json.loads(entry.model_dump_json()) for entry in optima.entries()]
    specification = figures.phase_diagram(entries, dark=dark)
    assert_labels_are_read(specification)


def test_a_dark_figure_differs_by_its_configuration_alone(with_lines, trained, sweeps):
    for name, report in {**with_lines, "gram-1": trained, "sweep-loss": sweeps["two"]}.items():
        light, dark = (figures.specification(report, name, dark=dark) for dark in (False, True))
        assert light["config"]["background"] == "#ffffff" != dark["config"]["background"]
        assert {**light, "config": None} == {**dark, "config": None}

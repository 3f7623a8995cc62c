"""A metric over the steps of a run: its own numbers, for two runs, for many layers, for hostile names."""

import xml.etree.ElementTree as ElementTree

import altair
import pytest

import figures
from analysis.metrics import catalogue
from figures.words import cut

HOSTILE = [
    "a.b[0]['c']",
    '"d" + datum.value',
    "</text><script>alert(1)</script>",
    "\\u0041\\",
    "𝛼 😀",
    "x" * 300,
    "'",
    "",
]


def series(run="r", layers=("conv", "fc"), steps=range(4), value=lambda layer, step: 1.0 + layer + step, **changes):
    return [
        {"run": run, "step": step, "layer": name, "layer_index": index, "metric": "m", "value": value(index, step),
         "job_id": "job_1", **changes}
        for step in steps for index, name in enumerate(layers)
    ]  # fmt: skip


def entry(name="class_mean_condition_number"):
    return catalogue()[name].model_dump()


def marks(specification):
    """The marks of a layered figure, those within others too."""
    for part in specification["layer"]:
        yield from marks(part) if "layer" in part else [{"data": specification.get("data"), **part}]


def lines(specification):
    """The marks that show the series."""
    return [part for part in marks(specification) if "color" in part["encoding"]]


def points(specification):
    return lines(specification)[0]["data"]["values"]


def encoding(specification, channel):
    return lines(specification)[0]["encoding"][channel]


def words_in(svg):
    root = ElementTree.fromstring(svg)
    assert not any(element.tag.endswith("script") for element in root.iter())
    return ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("}text")]


@pytest.mark.parametrize("metric", list(catalogue()))
def test_every_metric_can_be_drawn(metric):
    specification = figures.metric_by_step(series(), entry(metric))
    altair.Chart.from_dict(specification)
    assert " ".join(specification["title"]["text"]) == f"{entry(metric)['title']}, step by step"
    assert encoding(specification, "y")["scale"].get("type") == (None if entry(metric)["scale"] == "linear" else "log")


def test_the_numbers_are_the_series():
    rows = series()
    found = points(figures.metric_by_step(rows, entry()))
    assert [(row["layer"], row["step"], row["value"]) for row in found] == [
        (row["layer"], row["step"], row["value"]) for row in rows
    ]


def test_a_dashed_line_is_at_the_ideal_or_the_axis_says_it():
    at_one = figures.metric_by_step(series(), entry())
    assert {row["y"] for part in marks(at_one) for row in part["data"]["values"] if "y" in row} == {1.0}
    assert "ideal 1" in words_in(figures.svg(at_one))
    at_zero = figures.metric_by_step(series(value=lambda _, step: 10.0 ** (2 - step)), entry("variability_trace_ratio"))
    assert encoding(at_zero, "y")["title"] == ["variability trace ratio (ideal: 0)"]
    in_words = figures.metric_by_step(series(), entry("mutual_coherence"))
    assert "(ideal: 1/(K-1))" in " ".join(encoding(in_words, "y")["title"])


def test_another_run_is_dashed_and_shares_the_colours_of_layers():
    rows = [*series("r", ["a", "b"]), *series("s", ["b", "c"], steps=range(9))]
    specification = figures.metric_by_step(rows, entry())
    assert encoding(specification, "color")["scale"]["domain"] == ["a", "b", "c"]
    dashes = encoding(specification, "strokeDash")
    assert dashes["scale"]["domain"] == ["r", "s"]
    assert dashes["scale"]["range"][0] == [1, 0] != dashes["scale"]["range"][1]
    words = words_in(figures.svg(specification))
    assert {"r", "s", "a", "b", "c", "layer", "run", "step"} <= set(words)


def test_one_run_has_no_dashes():
    assert not any("strokeDash" in line["encoding"] for line in lines(figures.metric_by_step(series(), entry())))


def test_layers_keep_their_order():
    rows = series(layers=["layer10", "layer2", "α"])
    assert encoding(figures.metric_by_step(rows, entry()), "color")["scale"]["domain"] == ["layer10", "layer2", "α"]


@pytest.mark.parametrize("dark", [False, True])
def test_two_hundred_layers_have_a_scale_with_names(dark):
    names = [f"block{index}" for index in range(192)] + HOSTILE
    specification = figures.metric_by_step(series(layers=names), entry(), dark=dark)
    words = words_in(figures.svg(specification))
    assert {"1: block0", "100: block99"} <= set(words)
    assert sum("block" in word for word in words) < 10
    assert all(len(word) < 100 for word in words)
    assert len(points(specification)) == 800


def test_hostile_names_are_words_and_nothing_else():
    specification = figures.metric_by_step([*series(HOSTILE[0], HOSTILE), *series(HOSTILE[2], HOSTILE)], entry())
    words = words_in(figures.svg(specification))
    for name in HOSTILE[:5]:
        assert cut(name) in words
    assert len({row["layer"] for row in points(specification)}) == len(HOSTILE)


def test_undefined_values_leave_a_gap():
    rows = series(value=lambda layer, step: None if step == 2 else 1.0)
    specification = figures.metric_by_step(rows, entry())
    assert [row["value"] for row in points(specification)].count(None) == 2
    assert b"NaN" not in figures.svg(specification)


def test_a_single_step_is_seen():
    svg = figures.svg(figures.metric_by_step(series(steps=[7]), entry()))
    assert svg.count(b"symbol") >= 2
    assert "7" in words_in(svg)


def test_without_a_step_or_a_value_there_is_nothing_to_draw():
    for rows in ([], series(step=None), series(value=lambda *_: None)):
        with pytest.raises(ValueError, match="no step"):
            figures.metric_by_step(rows, entry())


def test_steps_are_thinned_to_what_lines_can_have_and_the_figure_says_so():
    drawn = figures.steps_to_draw({"r": 10_000, "s": 3}, layers=5)
    assert drawn["s"] == [0, 1, 2]
    assert (drawn["r"][0], drawn["r"][-1]) == (0, 9_999)
    assert 50 <= len(drawn["r"]) * 5 <= 4_000
    specification = figures.metric_by_step(series(), entry(), num_steps=10_000)
    assert encoding(specification, "x")["title"] == "step (4 of 10000 are drawn)"

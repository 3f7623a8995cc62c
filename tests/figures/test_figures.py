"""Every figure of every report: valid, drawable, the same each time, and with the report's own numbers."""

import copy
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import altair
import jsonschema
import pytest

import figures
from figures import training

VEGA_LITE = jsonschema.Draft7Validator(altair.load_schema())
REPORTS = ("trained", "diverged", "single", "optimum", "reproduced", "curve")
SWEEPS = ("numbers", "words", "two", "three", "four", "many", "one")


def rows(specification):
    """All rows of all data in a specification, in order; data that several marks share counts once."""
    unique = []
    for table in tables(specification):
        if table not in unique:
            unique.append(table)
    return [row for table in unique for row in table]


def tables(specification):
    if isinstance(specification, dict):
        found = (specification.get("data") or {}).get("values")
        inner = [table for key, part in specification.items() if key != "data" for table in tables(part)]
        return ([found] if found else []) + inner
    return [table for part in specification for table in tables(part)] if isinstance(specification, list) else []


def texts(svg):
    return [
        "".join(element.itertext()) for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")
    ]


def one_of_each(entries):
    """A metric, a Gram matrix and a panel stand for all of them: drawing takes a quarter of a second."""
    by_kind = {
        entry.name.split("-")[0] if entry.name.startswith(("metric-", "gram-")) else entry.name: entry
        for entry in entries
    }
    return list(by_kind.values())


def drawn(report, name):
    specification = figures.specification(report, name)
    svg = figures.svg(specification)
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    return specification, svg


# Each figure of the sweep with too many panels takes seconds: it has tests of its own.
@pytest.mark.parametrize("kind", [*REPORTS, *(f"sweep of {name}" for name in SWEEPS if name != "many")])
def test_every_figure_is_valid_and_can_be_drawn(reports, kind):
    entries = figures.names(reports[kind])
    assert entries
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        assert re.fullmatch(r"[a-z0-9_-]+", entry.name)  # part of an address
    to_draw = one_of_each(entries)
    for entry in entries if kind == "trained" else to_draw:
        specification = figures.specification(reports[kind], entry.name)
        VEGA_LITE.validate(specification)
        assert " ".join(specification["title"]["text"]) == entry.title
        if entry in to_draw:
            svg = figures.svg(specification)
            assert b"NaN" not in svg
            assert "undefined" not in " ".join(texts(svg))


@pytest.mark.parametrize("kind", REPORTS)
def test_every_figure_is_a_picture(reports, kind):
    for entry in one_of_each(figures.names(reports[kind]))[:3]:
        assert figures.png(figures.specification(reports[kind], entry.name)).startswith(b"\x89PNG\r\n")


def test_the_same_report_gives_the_same_bytes(trained):
    for name in ("loss", "variability", "metrics", "singular-values", "gram-1"):
        first, again = (figures.specification(copy.deepcopy(trained), name) for _ in range(2))
        assert first == again
        assert figures.svg(first) == figures.svg(again)
        assert figures.png(first) == figures.png(again)


def test_names_say_what_a_report_has(reports):
    names = {kind: {entry.name for entry in figures.names(report)} for kind, report in reports.items()}
    over_layers = {"metrics", "ranks", "singular-values", "gram-1", "metric-class_mean_rank"}
    over_steps = {"loss", "ranks-training", "runs", "singular-values-training"}
    assert names["trained"] >= over_layers | over_steps | {"variability"}
    assert "variability" not in names["single"]  # one sample a class
    assert "metrics" not in names["diverged"]  # no run is left to measure
    assert names["optimum"] >= over_layers | {"references"}
    assert not names["optimum"] & over_steps
    assert {"figure", "panel-loss", "panel-variability", "panel-singular-values"} <= names["reproduced"]
    assert "figure" not in names["curve"]  # its only panel is the figure
    assert names["sweep of two"] == {"sweep-loss", "sweep-loss-over-dnc", "sweep-rank-mean", "sweep-dnc-share"}


def test_what_a_report_is_about_is_listed_first(reports):
    first = {kind: figures.names(reports[kind])[0].name for kind in ("trained", "optimum", "reproduced", "curve")}
    assert first == {"trained": "loss", "optimum": "references", "reproduced": "figure", "curve": "panel-rank"}


def ticks(report, name):
    """What is written at the axes and beside the colours, besides letters."""
    return [text for text in texts(figures.svg(figures.specification(report, name))) if not text[:1].isalpha()]


def test_few_runs_and_steps_have_whole_numbers_each_once(trained):
    few = copy.deepcopy(trained)
    trajectory = few["training"]["trajectory"]
    trajectory["step"] = [0, 1]
    for part in ("loss", "fit", "regularization"):
        trajectory[part] = {side: values[:2] for side, values in trajectory[part].items()}
    steps = [text for text in ticks(few, "loss") if float(text.replace("−", "-")) in (0, 0.5, 1, 2)]
    assert steps.count("0") == 1
    assert "0.5" not in steps or steps.count("0.5") == 1
    assert not any(text.endswith("m") for text in ticks(few, "loss"))
    last = len(trained["training"]["runs"])
    drawn_ticks = ticks(trained, "runs")
    assert all(drawn_ticks.count(str(run)) == 1 for run in range(1, last + 1))
    assert "0" not in drawn_ticks
    assert str(last + 1) not in drawn_ticks


def test_few_singular_values_have_whole_numbers_each_once(single):
    panels = {row["panel"] for row in rows(figures.specification(single, "singular-values"))}
    assert ticks(single, "singular-values").count("2") == len(panels)


def test_runs_that_end_alike_have_an_axis_of_different_numbers(trained):
    alike = copy.deepcopy(trained)
    for number, run in enumerate(alike["training"]["runs"]):
        run["loss"] = 0.5 + number * 1e-13
    alike["training"]["references"] = {"zero": 0.5}
    assert ticks(alike, "runs").count("0.5") == 1


def test_runs_that_diverge_at_once_leave_their_first_step(diverged):
    assert len(diverged["training"]["trajectory"]["step"]) == 1
    marks = [layer.get("mark", {}) for layer in figures.specification(diverged, "loss")["layer"]]
    assert [mark["point"] for mark in marks if mark.get("type") == "line"] == [True]


def test_shares_are_drawn_between_none_and_all(sweeps):
    in_two = copy.deepcopy(sweeps["two"])
    for cell in in_two["sweep"]["cells"]:
        cell["dnc_share"] = 0.0
    assert {"0", "1"} <= set(ticks(in_two, "sweep-dnc-share"))
    assert not any(text.startswith("−") for text in ticks(in_two, "sweep-dnc-share"))


def test_powers_of_two_are_written_as_powers(curve):
    assert {"0.002", "0.004"} <= set(texts(figures.svg(figures.specification(curve, "panel-rank"))))
    powers = copy.deepcopy(curve)
    for row, power in zip(powers["reproduction"]["panels"][0]["rows"], (-10, -6), strict=True):
        row["decay"] = 2.0**power
    assert {"2⁻¹⁰", "2⁻⁶"} <= set(texts(figures.svg(figures.specification(powers, "panel-rank"))))


@pytest.mark.parametrize("name", ["nothing", "", "metric-nothing", "gram-0", "gram-999", "panel-loss", "sweep-loss"])
def test_other_figures_are_unknown(trained, name):
    with pytest.raises(figures.UnknownFigure):
        figures.specification(trained, name)


def test_layers_numbers_are_the_reports(trained):
    for metric in trained["catalogue"]:
        values = [layer["metrics"][metric] for layer in trained["layers"]]
        if any(value is not None for value in values):
            found = rows(figures.specification(trained, f"metric-{metric}"))
            assert [row["value"] for row in found if "value" in row] == values
    for number, layer in enumerate(trained["layers"], 1):
        found = rows(figures.specification(trained, f"gram-{number}"))
        assert [row["value"] for row in found] == [value for line in layer["class_mean_gram"] for value in line]
    found = [row["value"] for row in rows(figures.specification(trained, "singular-values"))]
    assert sorted(found) == sorted(value for layer in trained["layers"] for value in layer["spectra"]["class_means"])


def test_training_numbers_are_the_reports(trained):
    trajectory = trained["training"]["trajectory"]
    found = rows(figures.specification(trained, "loss"))
    for part in ("loss", "fit", "regularization"):
        band = trajectory[part]
        series = [row for row in found if row.get("series") == part]
        assert [row["step"] for row in series] == trajectory["step"]
        assert [row["mean"] for row in series] == band["mean"]
        for row, mean, std, low, high in zip(series, band["mean"], band["std"], band["min"], band["max"], strict=True):
            assert row["low"] == max(mean - std, low) <= mean <= min(mean + std, high) == row["high"]
    lines = {row["label"].split()[0]: row["y"] for row in found if "label" in row}
    references = trained["training"]["references"]
    assert lines["DNC"] == references["dnc"]
    assert lines["zero"] == references["zero"] == 0.5
    found = rows(figures.specification(trained, "ranks-training"))
    for layer, band in trajectory["metrics"]["class_mean_rank"].items():
        assert [row["mean"] for row in found if row["series"] == layer] == band["mean"]
    found = rows(figures.specification(trained, "runs"))
    assert sorted(row["loss"] for row in found if "loss" in row) == sorted(
        run["loss"] for run in trained["training"]["runs"]
    )


def test_ranks_have_those_of_the_theory_beside_them(trained):
    found = rows(figures.specification(trained, "ranks"))
    assert [row["rank"] for row in found if "rank" in row] == [
        layer["metrics"]["class_mean_rank"] for layer in trained["layers"]
    ]
    # Four classes are not the edges of a complete graph; ten are those of one of five vertices.
    assert {row["y"] for row in found if "label" in row} == {4.0}
    of_ten = copy.deepcopy(trained)
    for layer in of_ten["summary"]["layers"]:
        layer.update(dnc_rank=10, srg_rank=5.0)
    assert {row["y"] for row in rows(figures.specification(of_ten, "ranks")) if "label" in row} == {5.0, 10.0}


def test_optimum_stands_beside_all_references(optimum):
    found = {row["name"]: row["loss"] for row in rows(figures.specification(optimum, "references"))}
    references = optimum["optimum"]["references"]
    assert found["found"] == optimum["optimum"]["loss"]
    assert found["deep neural collapse"] == references["dnc"]
    assert found["lower bound (proved)"] == references["lower_bound"]
    assert ("strongly regular graph" in found) == (references["srg"] is not None)


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps_cells_are_the_reports(sweeps, name):
    report = sweeps[name]
    cells = report["sweep"]["cells"]
    for field in ("loss",) if name == "many" else ("loss", "loss_over_dnc", "rank_mean", "dnc_share"):
        found = rows(figures.specification(report, f"sweep-{field.replace('_', '-')}"))
        values = [row["value"] for row in found if "value" in row]
        if name == "many":  # more panels than are drawn
            assert values == [cell[field] for cell in cells][: len(values)]
        else:  # panel by panel
            assert sorted(map(str, values)) == sorted(str(cell[field]) for cell in cells)


def test_sweep_of_too_many_facets_says_so(sweeps):
    _, svg = drawn(sweeps["many"], "sweep-loss")
    assert "and 64 more panels, which are not drawn" in texts(svg)


def test_empty_cells_have_a_dash_and_keep_their_place(sweeps):
    specification, svg = drawn(sweeps["two"], "sweep-rank-mean")
    assert texts(svg).count("–") == 1
    axes = specification["layer"][0]["encoding"]
    assert axes["y"]["scale"]["domain"] == ["2", "3"]
    assert axes["x"]["scale"]["domain"] == ["10", "20", "[3, 4]"]


def test_panels_rows_are_the_reports(reproduced, curve):
    for report in (reproduced, curve):
        for panel in report["reproduction"]["panels"]:
            found = rows(figures.specification(report, f"panel-{panel['name']}"))
            encoding = panel["encoding"]
            for column in ("x", "y", "low", "high", "color", "facet"):
                if column in encoding:
                    assert [row[column] for row in found if column in row and "label" not in row] == [
                        row.get(encoding[column]) for row in panel["rows"]
                    ]
            assert {row["label"]: row["y"] for row in found if "label" in row} == panel["reference_lines"]


def test_points_with_deviations_lie_within_the_frame(curve):
    (panel,) = curve["reproduction"]["panels"]
    specification = figures.specification(curve, f"panel-{panel['name']}")
    low, high = specification["layer"][-1]["encoding"]["y"]["scale"]["domain"]
    assert all(low <= row["low"] <= row["high"] <= high for row in panel["rows"])


def test_nulls_are_left_out_or_open(trained):
    report = copy.deepcopy(trained)
    report["layers"][1]["metrics"]["variability_trace_ratio"] = None
    for layer in report["layers"]:
        layer["metrics"]["balancedness"] = None
        layer["class_mean_gram"] = None
        layer["spectra"]["class_means"] = None
    trajectory = report["training"]["trajectory"]
    trajectory["loss"]["mean"][2] = trajectory["loss"]["std"][2] = trajectory["loss"]["min"][2] = None
    report["training"]["references"] |= {"dnc": None, "srg": None, "best_known": None, "lower_bound": None}
    names = {entry.name for entry in figures.names(report)}
    assert not names & {"metric-balancedness", "gram-1", "singular-values"}
    found = [row for row in rows(drawn(report, "metric-variability_trace_ratio")[0]) if "value" in row]
    assert found[1]["value"] is None
    assert len(found) == len(report["layers"])
    found = [row for row in rows(drawn(report, "loss")[0]) if row.get("series") == "loss"]
    assert found[2]["mean"] is found[2]["low"] is None


def test_zeros_on_logarithmic_axes_are_drawn_at_the_foot(trained):
    report = copy.deepcopy(trained)
    for layer in report["layers"][:2]:
        layer["metrics"]["variability_trace_ratio"] = 0.0
    specification, svg = drawn(report, "metric-variability_trace_ratio")
    assert specification["layer"][1]["encoding"]["y"]["scale"]["clamp"]
    assert b"Infinity" not in svg
    for layer in report["layers"]:
        layer["metrics"]["variability_trace_ratio"] = 0.0
    drawn(report, "metric-variability_trace_ratio")


def test_hundreds_of_layers_and_one_class(trained):
    report = copy.deepcopy(trained)
    template = report["layers"][0]
    report["layers"] = [
        {**template, "name": f"layer{number}", "spectra": {"class_means": [1.0 / number]}, "class_mean_gram": [[1.0]]}
        for number in range(1, 201)
    ]
    report["summary"] = None
    report["class_counts"] = {"7": 3}
    bands = report["training"]["trajectory"]["metrics"]["class_mean_rank"]
    template = next(iter(bands.values()))
    report["training"]["trajectory"]["metrics"]["class_mean_rank"] = {f"layer{n}": template for n in range(200)}
    for name in ("metrics", "ranks", "singular-values", "gram-200", "ranks-training"):
        specification, svg = drawn(report, name)
        width = float(ElementTree.fromstring(svg).attrib["width"])
        assert width < 1600, name
    assert [row["value"] for row in rows(specification)[:0]] == []
    found = rows(figures.specification(report, "singular-values"))
    assert [row["value"] for row in found] == [1.0 / number for number in range(1, 201)]


HOSTILE = [
    lambda name: f"a.b[0]['{name}']",
    lambda name: f'"{name}" + datum.value + {{}}',
    lambda name: f"</text><script>alert(1)</script>{name}",
    lambda name: f"\\{name}\\n\x00\x07\n\t{name}",
    lambda name: f"{name}&lt;é漢字😀",
    lambda name: name + "x" * 10_000 + name,
    lambda name: f"signal:{name}|@:$",
    lambda name: "y" * 10_000 + ("" if name == "H_1" else " " * sum(map(ord, name))),
    lambda name: " " * sum(map(ord, name)) if name != "output" else "",
]
"""Names of layers: of the last two kinds all that differ in blanks alone."""


def one_after_the_other(renames):
    """Each layer by another of these."""
    numbers = {}
    return lambda name: renames[numbers.setdefault(name, len(numbers)) % len(renames)](name)


@pytest.mark.parametrize("rename", [one_after_the_other(HOSTILE[:4]), one_after_the_other(HOSTILE[4:7]), *HOSTILE[7:]])
def test_hostile_names_are_words_and_nothing_else(trained, renamed, rename):
    report = renamed(trained, rename)
    for entry in one_of_each(figures.names(report)):
        if entry.name.startswith("metric-") or entry.name == "metrics":
            continue
        specification, svg = drawn(report, entry.name)
        assert len(entry.title) < 200
        assert all(len(text) < 200 for text in texts(svg))
        assert not any(element.tag.endswith("script") for element in ElementTree.fromstring(svg).iter())
        if not entry.name.startswith("singular-values"):  # whose panels pair layers by their names
            assert len(rows(specification)) == len(rows(figures.specification(trained, entry.name)))
    labels = {row["layer"] for row in rows(figures.specification(report, "metric-class_mean_rank")) if "layer" in row}
    assert len(labels) == len(report["layers"])


def test_layers_before_and_after_their_activation_share_a_panel(trained, renamed):
    named = renamed(trained, lambda name: name.replace("relu(", "head.").replace(")", ".relu").replace("H_", "h."))
    named = renamed(named, lambda name: name.removeprefix("head.") if name.endswith(".relu") else name)
    for report in (trained, named):
        found = rows(figures.specification(report, "singular-values"))
        assert {row["series"] for row in found} == {"before σ", "after σ", "without σ"}
        assert len({row["panel"] for row in found}) == 4  # H_1, H_2, H_3, output


@pytest.mark.parametrize("module", ["api.app", "analysis.commands", "jobs"])
def test_what_draws_is_loaded_when_a_figure_is_asked_for(module):
    code = f"import sys, {module}; print(*({{'altair', 'vl_convert', 'figures'}} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


def test_drawing_needs_no_torch():
    code = "import sys, figures; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_long_training_is_thinned_between_its_ends(trained):
    assert training.thinned(range(5000), series=1)[0] == 0
    report = copy.deepcopy(trained)
    trajectory = report["training"]["trajectory"]
    count = 30_000
    trajectory["step"] = list(range(count))
    for part in ("loss", "fit", "regularization"):
        trajectory[part] = {"mean": [1.0] * count, "std": [0.0] * count, "min": [1.0] * count, "max": [1.0] * count}
    found = [row for row in rows(figures.specification(report, "loss")) if row.get("series") == "loss"]
    assert len(found) < 2000
    assert (found[0]["step"], found[-1]["step"]) == (0, count - 1)

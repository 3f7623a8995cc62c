"""The page itself: which figures it shows, and the template that puts everything in its place."""

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from api.report_page.pictures import Figure, pictures
from api.report_page.tables import tables, warnings
from api.verdict import verdict
from api.wording import moment, plain, words

if TYPE_CHECKING:
    from jinja2 import Template

TITLES: Final = {
    "measure_collapse": "Collapse, layer by layer",
    "train_dufm": "Training of the deep unconstrained features model",
    "find_dufm_optimum": "Search for an optimum of the deep unconstrained features model",
    "sweep_dufm": "Sweep over deep unconstrained features models",
    "reproduce_figure": "A figure of the paper, done again",
}
MOST_GRAMS: Final = 4
MOST_CLASSES: Final = 40
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def chosen_figures(names: Sequence[str]) -> list[str]:
    """Those that the page shows: single panels and single metrics are in others, and of Gram matrices the last few."""
    grams = [name for name in names if name.startswith("gram-")]
    left_out = {*grams[: max(0, len(grams) - MOST_GRAMS)]}
    left_out |= {name for name in names if name.startswith("panel-") and "figure" in names}
    left_out |= {name for name in names if name.startswith("metric-") and "metrics" in names}
    return [name for name in names if name not in left_out]


def page(job: Mapping[str, Any], report: Mapping[str, Any], body: str, figures: Sequence[Figure]) -> str:
    """HTML, with everything in it.

    job: its view. report, body: the report, and as the text that it came from.
    """
    counts = report["class_counts"]
    return _template().render(
        policy=POLICY,
        title=TITLES.get(report["kind"], words(report["kind"])),
        job=job,
        report=report,
        verdict=verdict(report),
        pictures=pictures(figures),
        tables=tables(report),
        warnings=warnings(report),
        parameters=_flat(job["parameters"]),
        surroundings={**report["environment"], **report["timings"]},
        classes={label: counts[label] for label in list(counts)[:MOST_CLASSES]},
        left_out_classes=max(0, len(counts) - MOST_CLASSES),
        metrics=[entry for name, entry in report["catalogue"].items() if _is_measured(report, name)],
        json=base64.b64encode(body.encode()).decode(),
    )


def _flat(parameters: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Parameters of parameters by their path.

    >>> _flat({"base": {"depth": 3}, "repeats": 2})
    {'base.depth': 3, 'repeats': 2}
    """
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return found


def _is_measured(report: Mapping[str, Any], metric: str) -> bool:
    return any(layer["metrics"].get(metric) is not None for layer in report["layers"])


@cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("api", "report_page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"moment": moment, "plain": plain, "words": words}
    return environment.get_template("report.html")

"""Reports as typed objects: the JSON unchanged, and every field that the service's schema has."""

import copy
import json
import pickle
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

import httpx
import numpy as np
import pytest
from feature_files import feature_arrays

from collapse_client import Client
from collapse_client.reports import LayerReport, Report
from collapse_client.reports.layers import Structure
from collapse_client.reports.summary import LayerSummary
from collapse_client.reports.view import View, fields

pytestmark = pytest.mark.xdist_group("reports")
TRAINING = {"num_classes": 3, "depth": 2, "width": 4, "steps": 40, "runs": 2, "record_every": 10}
OF_A_DICT = {"values": "parameters"}
"""A field that is an attribute under another name, because a dict has one of its name."""
SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}


@pytest.fixture(scope="module")
def client(address):
    with Client(address) as client:
        yield client


@pytest.fixture(scope="module")
def report(client) -> Report:
    arrays = feature_arrays()
    arrays["split"] = np.repeat([0, 1], [150, 50])
    return client.report(client.wait(client.analyse(arrays, run="r", step=7))["id"])


@pytest.fixture(scope="module")
def training(client) -> Report:
    return client.report(client.wait(client.submit("train_dufm", **TRAINING))["id"])


@pytest.fixture(scope="module")
def sweep(client) -> Report:
    job = client.submit("sweep_dufm", base={"kind": "train_dufm", **TRAINING}, grid={"weight_decay": [0.01, 0.02]})
    return client.report(client.wait(job)["id"])


@pytest.fixture(scope="module")
def schema(address) -> dict[str, Any]:
    return httpx.get(f"{address}/v1/schemas/report.json").json()


def of_hint(hint: Any) -> str:
    """A type as text: [number] for a list, {string} for a dict, the name of a view."""
    if hint is Any:
        return "any"
    arguments = [argument for argument in get_args(hint) if argument is not type(None)]
    if get_origin(hint) is Union:
        return f"{of_hint(arguments[0])} or null"
    if get_origin(hint) is list:
        return f"[{of_hint(arguments[0])}]"
    if get_origin(hint) is dict:
        return f"{{{of_hint(arguments[1])}}}"
    return hint.__name__ if issubclass(hint, View) else SCALARS[hint]


def of_schema(part: dict[str, Any]) -> str:
    """The same of a part of a JSON Schema."""
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        return {"GraphParameters": "{integer}"}.get(name, name)
    if "anyOf" in part:
        options = [of_schema(option) for option in part["anyOf"] if option != {"type": "null"}]
        null = " or null" if {"type": "null"} in part["anyOf"] else ""
        return (options[0] if len(options) == 1 else "any") + null
    if part.get("type") == "array":
        return f"[{of_schema(part.get('items') or part.get('prefixItems', [{}])[0])}]"
    if part.get("type") == "object":
        inner = part.get("additionalProperties", True)
        return f"{{{'any' if inner is True else of_schema(inner)}}}"
    return str(part.get("type", "any"))


def views_in(view: type[View]) -> Iterator[type[View]]:
    yield view
    for hint in fields(view).values():
        while get_args(hint):
            hint = [argument for argument in get_args(hint) if argument is not type(None)][-1]
        if isinstance(hint, type) and issubclass(hint, View):
            yield from views_in(hint)


def test_the_views_are_those_of_the_schema(schema):
    """Every object that a report can hold, every field of it, every type."""
    views = {view.__name__: view for view in views_in(Report)}
    models = {name: model for name, model in schema["$defs"].items() if model.get("type") == "object"}
    assert set(views) == {*models, "Report"} - {"GraphParameters"}
    for name, view in views.items():
        expected = {
            field: of_schema(part)
            for field, part in (models | {"Report": schema})[name]["properties"].items()
            if field not in OF_A_DICT
        }
        found = {field: of_hint(hint) for field, hint in fields(view).items()}
        vague = {field for field, hint in found.items() if "any" in hint}
        assert set(found) == set(expected), name
        assert {field: found[field] for field in set(found) - vague} == {
            field: expected[field] for field in set(found) - vague
        }, name
        assert all("any" in expected[field] for field in vague), name


def test_what_a_dict_has_itself_is_no_field():
    for view in views_in(Report):
        assert not set(fields(view)) & set(dir(dict)), view


def test_the_json_stays_as_it_is(client, report):
    plain = json.loads(httpx.get(str(client._transport._http.base_url.join(f"/v1/jobs/{report.job_id}/report"))).text)
    assert report == plain
    assert json.loads(json.dumps(report)) == plain
    assert type(report["layers"][0]) is dict
    assert pickle.loads(pickle.dumps(report)) == copy.deepcopy(report) == report
    assert type(copy.deepcopy(report)) is Report


def test_its_fields_are_attributes_all_the_way_down(report):
    assert (report.run, report.step, report.kind, report.num_samples) == ("r", 7, "measure_collapse", 150)
    first, last = report.layers
    assert isinstance(first, LayerReport)
    assert (first.name, first.index, first.dim) == ("layer0", 0, 6)
    assert isinstance(last.structure, Structure)
    assert last.spectra.class_means == sorted(last.spectra.class_means, reverse=True)
    assert last.per_class[2].label == report["layers"][1]["per_class"][2]["label"]
    assert last.splits["1"].num_samples == 50
    assert isinstance(report.summary.layers[0], LayerSummary)
    assert (
        report.summary.layers[0].deciding["variability_trace_ratio"].value
        == report.layers[0].metrics["variability_trace_ratio"]
    )
    assert report.catalogue["class_mean_rank"].conventions == report["catalogue"]["class_mean_rank"]["conventions"]
    assert report.training is report.optimum is report.sweep is None
    assert report.environment.device == "cpu"
    assert report.layer("layer1") == last


def test_what_is_not_there_is_told(report):
    with pytest.raises(AttributeError, match=r"no field 'metric'; it has name, .*metrics|no field 'metric'.*metrics"):
        _ = report.layers[0].metric
    with pytest.raises(KeyError, match="layer0, layer1"):
        report.layer("layer2")


def test_what_training_puts_into_it(training):
    found = training.training
    assert found.runs[1].seed == training["training"]["runs"][1]["seed"]
    assert found.trajectory.loss.mean[-1] == pytest.approx(sum(run.loss for run in found.runs) / 2)
    assert found.trajectory.metrics.keys() == training["training"]["trajectory"]["metrics"].keys()
    assert found.references.dnc == training["training"]["references"]["dnc"]


def test_a_field_that_a_dict_has_is_called_otherwise(sweep):
    cell = sweep.sweep.cells[1]
    assert cell.parameters == cell["values"] == {"weight_decay": 0.02}
    assert cell.succeeded == 1

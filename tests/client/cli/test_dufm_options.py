"""The options of `collapse dufm` are the parameters of the service's kinds: all of them, and no others."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.commands import KINDS
from collapse_client.cli import dufm


def parameters_of(kind: str) -> set[str]:
    return set(KINDS[kind].model_fields) - {"kind"}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("train_dufm", {*dufm.MODEL, *dufm.TRAIN}),
        ("find_dufm_optimum", {*dufm.MODEL, *dufm.OPTIMUM}),
        ("sweep_dufm", {"base", "grid", *dufm.SWEEP}),
        ("reproduce_figure", {"figure", *dufm.FIGURE}),
    ],
)
def test_every_parameter_has_an_option(kind, options):
    assert options == parameters_of(kind)


def test_figures_that_help_lists_are_those_of_the_service():
    figure = KINDS["reproduce_figure"].model_json_schema()["properties"]["figure"]
    assert dufm.FIGURES.replace(" or ", ", ").split(", ") == figure["enum"]


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False), st.lists)
)
def test_json_values_are_read_as_they_are(value):
    text = json.dumps(value)
    assert dufm.read_value(text) == value


@given(st.lists(st.integers() | st.floats(allow_nan=False, allow_infinity=False), min_size=2))
def test_lists_need_no_brackets(values):
    assert dufm.read_value(",".join(map(repr, values))) == values


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "adam", "1e999", "", "NaN"])
def test_what_json_cannot_say_is_text_for_the_service_to_refuse(text):
    assert dufm.read_value(text) == text

"""What a command accepts, and that asking costs no torch."""

import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from analysis.commands import KINDS, AnyCommand, MeasureCollapse
from analysis.metrics.registry import metric

PLAIN = {"kind": "measure_collapse", "features": "features_1"}


def test_plain_command_has_the_defaults_of_the_service():
    command = TypeAdapter(AnyCommand).validate_python(PLAIN)
    assert command == MeasureCollapse(kind="measure_collapse", features="features_1")
    assert (command.layers, command.metrics, command.spectra) == (None, None, ("class_means",))
    assert command.rank_tolerance == 1e-3
    assert KINDS["measure_collapse"] is MeasureCollapse


def test_command_survives_json():
    command = MeasureCollapse(**PLAIN, layers=("b", "a"), metrics=("equinorm",), rank_tolerance=0.1)
    assert MeasureCollapse.model_validate_json(command.model_dump_json()) == command
    with pytest.raises(ValidationError, match="frozen"):
        command.features = "other"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "measure"}, "measure_collapse"),
        ({"features": ""}, "at least 1"),
        ({"features": "f" * 65}, "at most 64"),
        ({"features": 7}, "valid string"),
        ({"layers": []}, "at least 1"),
        ({"layers": [""]}, "at least 1"),
        ({"layers": ["a", "b", "a"]}, "repeated: 'a'"),
        ({"metrics": ["equinrm"]}, "did you mean 'equinorm'.*GET /v1/catalogue"),
        ({"metrics": ["zzz"]}, "no metric 'zzz': GET /v1/catalogue"),
        ({"metrics": ["equinorm", "equinorm"]}, "repeated: 'equinorm'"),
        ({"rank_tolerance": 0}, "between 0 and 1"),
        ({"rank_tolerance": 1}, "between 0 and 1"),
        ({"rank_tolerance": 2**63}, "between 0 and 1"),
        ({"rank_tolerance": float("nan")}, "between 0 and 1"),
        ({"rank_tolerance": "0.1"}, "valid number"),
        ({"spectra": ["everything"]}, "'class_means', 'features' or 'weights'"),
        ({"spectra": ["features", "features"]}, "repeated: 'features'"),
        ({"rank_tolerence": 0.1}, "not permitted"),
    ],
)
def test_wrong_parameters_are_named(wrong, message):
    with pytest.raises(ValidationError, match=message):
        MeasureCollapse.model_validate(PLAIN | wrong)


def test_a_metric_has_one_function():
    with pytest.raises(ValueError, match="already: choose another name"):

        @metric(formula="0", ideal=0.0, scale="linear", direction=None, reference="none")
        def equinorm(layer):
            """Not the first of its name."""


def test_commands_and_catalogue_import_no_torch():
    code = "import sys, analysis.commands, analysis.report, analysis.errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

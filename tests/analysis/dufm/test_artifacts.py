"""Solutions as files: read back as they were, and the same bytes for the same solution."""

import subprocess
import sys

import pytest
import safetensors.torch
import torch
from dufm_models import model, random_variables

from analysis.dufm.artifacts import all_to_safetensors, from_safetensors, read_metadata, to_safetensors
from analysis.dufm.model import Variables


def test_a_solution_is_read_back_as_it_was():
    variables = random_variables(model(depth=12, samples_per_class=2), runs=3)
    content = to_safetensors(variables.run(1), {"loss": "0.1", "a": "ä"})
    read = from_safetensors(content)
    assert all(map(torch.equal, read.tensors, variables.run(1).tensors))
    assert read_metadata(content) == {"loss": "0.1", "a": "ä"}


def test_anybodys_safetensors_reads_it():
    variables = random_variables(model(depth=2))
    tensors = safetensors.torch.load(to_safetensors(variables, {"key": "value"}))
    assert set(tensors) == {"H_1", "W_1", "W_2"}
    assert torch.equal(tensors["W_2"], variables.weights[1][0])
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float64}


def test_all_runs_in_one_file():
    variables = random_variables(model(), runs=3)
    assert all(map(torch.equal, from_safetensors(all_to_safetensors(variables, {})).tensors, variables.tensors))


def test_the_first_run_is_kept_in_float64():
    variables = random_variables(model(), runs=2)
    halved = Variables(variables.features.float(), tuple(weight.float() for weight in variables.weights))
    read = from_safetensors(to_safetensors(halved, {}))
    assert torch.equal(read.features, halved.features[:1].double())


SAVE = """
import hashlib, torch
from analysis.dufm.artifacts import to_safetensors
from analysis.dufm.model import Variables
eye = torch.eye(3)[None]
print(hashlib.sha256(to_safetensors(Variables(eye, (eye,)), dict.fromkeys("abcdef", "x"))).hexdigest())
"""


def test_bytes_are_the_same_in_every_process():
    hashes = {subprocess.run([sys.executable, "-c", SAVE], capture_output=True, check=True).stdout for _ in range(3)}
    assert len(hashes) == 1


def test_something_else_is_refused():
    with pytest.raises(ValueError, match="no tensor W_1"):
        from_safetensors(safetensors.torch.save({"H_1": torch.ones(1, 1)}))

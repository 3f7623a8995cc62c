"""Every entry of the catalogue, from its matrices: they are what it rests on."""

import numpy as np
import pytest
import safetensors.numpy

from analysis.dufm import catalogue
from analysis.dufm.cataloguing import cells, describe, found_in, write_entry
from analysis.dufm.problem import Problem

ENTRIES = catalogue.entries()


def name(entry):
    return f"K{entry.num_classes}-L{entry.depth}-{entry.decay:g}"


def forward(matrices, depth):
    """Plainly, in numpy: the class means of every layer, before and after the ReLU."""
    hidden = matrices["W_1"] @ matrices["H_1"]
    layers = {"H_1": matrices["H_1"]}
    for index in range(2, depth + 1):
        layers[f"H_{index}"], layers[f"relu(H_{index})"] = hidden, np.maximum(hidden, 0)
        hidden = matrices[f"W_{index}"] @ np.maximum(hidden, 0)
    return {**layers, "output": hidden}


def naive_rank(matrix):
    values = np.linalg.svd(matrix, compute_uv=False)
    return int((values > 1e-3 * values[0]).sum()) if values[0] > 1e-8 else 0


def test_there_are_entries():
    assert ENTRIES


@pytest.mark.parametrize("entry", ENTRIES, ids=name)
def test_an_entry_is_true_of_its_matrices(entry):
    matrices = safetensors.numpy.load(catalogue.solution(entry))
    assert {matrix.dtype for matrix in matrices.values()} == {np.dtype("float64")}
    layers = forward(matrices, entry.depth)
    num_classes = entry.num_classes
    fit = ((layers["output"] - np.eye(num_classes)) ** 2).sum() / (2 * num_classes)
    regularization = entry.decay / 2 * sum((matrix**2).sum() for matrix in matrices.values())
    assert fit + regularization == pytest.approx(entry.loss, rel=1e-10)
    assert (entry.fit, entry.regularization) == pytest.approx((fit, regularization), rel=1e-8, abs=1e-12)
    assert entry.widths == tuple(matrices[f"W_{index}"].shape[1] for index in range(1, entry.depth + 1))
    if entry.structure != "zero":
        assert entry.ranks == {layer: naive_rank(matrix) for layer, matrix in layers.items()}
        assert entry.rank == entry.ranks[f"H_{entry.depth}"]


@pytest.mark.parametrize("entry", ENTRIES, ids=name)
def test_an_entry_lies_between_the_bound_and_the_references(entry):
    known = entry.references
    others = [loss for loss in (known.zero, known.dnc, known.srg and known.srg.loss) if loss is not None]
    assert known.lower_bound <= entry.loss <= min(others) * (1 + 1e-7)
    assert entry.gap == pytest.approx(entry.loss - known.lower_bound, abs=1e-12)
    assert entry.loss_over_dnc == pytest.approx(entry.loss / known.dnc, rel=1e-12)


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.num_classes == 2], ids=name)
def test_of_two_classes_collapse_or_zero_is_the_best(entry):
    assert entry.loss == pytest.approx(entry.references.dnc, rel=1e-7)


def test_the_published_points_are_met():
    ten = {entry.depth: entry for entry in ENTRIES if entry.num_classes == 10 and entry.decay == 0.004}
    assert ten[4].loss <= 0.080912
    assert ten[5].loss < 0.08787


def test_an_unknown_cell_has_no_entry():
    assert catalogue.find(10, 4, 0.005) is None
    assert catalogue.find(1000, 4, 0.004) is None


def test_a_written_entry_is_read_back(tmp_path):
    entry = catalogue.find(10, 4, 0.004)
    path = tmp_path / catalogue.file_name(10, 4, 0.004)
    path.write_bytes(catalogue.solution(entry))
    _, variables = found_in(path)
    problem = Problem(num_classes=10, widths=entry.widths, weight_decays=(0.004,) * 4, feature_decay=0.004)
    again = write_entry(problem, variables, start="read", folder=tmp_path)
    assert again == describe(problem, variables, start="read")
    assert again.loss == pytest.approx(entry.loss, rel=1e-12)
    assert catalogue.read_entry(path) == again


def test_cells_are_gone_through_decay_by_decay_the_deep_ones_first():
    assert list(cells([0.004], [2, 3], [2, 3])) == [(2, 3, 0.004), (3, 3, 0.004), (2, 2, 0.004), (3, 2, 0.004)]

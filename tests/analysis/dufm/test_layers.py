"""The layers of a solution, measured as those of any network."""

import numpy as np
import pytest
import torch
from dufm_models import model, random_variables

from analysis.dufm.layers import METRICS, measure_solution
from analysis.dufm.model import class_means, layer_matrices


def network_file(problem, variables):
    """The same solution as somebody would upload it: rows, labels, weights."""
    tensors = {"labels": np.arange(problem.num_samples) // problem.samples_per_class}
    for name, matrix in layer_matrices(problem, variables).items():
        tensors[f"features.{name}"] = matrix[0].T
    inputs = ["H_1", *(f"relu(H_{index})" for index in range(2, problem.depth + 1))]
    return tensors | {f"weights.{name}": w[0] for name, w in zip(inputs, variables.weights, strict=True)}


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("samples", [1, 6])
def test_layers_are_measured_as_if_they_had_been_uploaded(measure, samples, activation):
    problem = model(num_classes=4, depth=3, width=(7, 5, 9), samples_per_class=samples, activation=activation)
    variables = random_variables(problem)
    tensors = network_file(problem, variables)
    del tensors["features.output"]  # an upload's classifier belongs to the last layer
    spectra = ("class_means", "features", "weights")
    uploaded = measure(
        tensors, layers=problem.layers[:-1], metrics=METRICS, spectra=("class_means", "features", "weights")
    )
    ours = measure_solution(problem, variables)
    assert [layer.name for layer in ours] == list(problem.layers)
    for layer, expected in zip(ours, uploaded.layers, strict=False):
        for metric in METRICS:
            found, wanted = layer.metrics[metric], expected.metrics[metric]
            assert (found is None) == (wanted is None), (layer.name, metric, layer.warnings, expected.warnings)
            assert found is None or found == pytest.approx(wanted, rel=1e-7, abs=1e-9), (layer.name, metric)
        for spectrum in spectra:
            found, wanted = getattr(layer.spectra, spectrum), getattr(expected.spectra, spectrum)
            assert (found is None) == (wanted is None)
            assert found is None or found == pytest.approx(wanted, rel=1e-6, abs=1e-7)


def test_the_classifier_is_the_last_matrix_and_sits_on_the_last_hidden_layer():
    problem = model(num_classes=4, depth=3, width=6, samples_per_class=3)
    layers = {layer.name: layer for layer in measure_solution(problem, random_variables(problem))}
    assert layers["relu(H_3)"].metrics["self_duality_distance"] is not None
    assert layers["relu(H_2)"].metrics["self_duality_distance"] is None
    assert layers["relu(H_2)"].metrics["balancedness"] is not None
    assert layers["relu(H_3)"].metrics["balancedness"] is None
    assert layers["H_2"].metrics["weight_alignment"] is None
    assert layers["output"].spectra.weights is None


def test_ranks_and_spectra_are_of_the_class_means():
    problem = model(num_classes=4, depth=2, width=(6, 2), samples_per_class=3)
    variables = random_variables(problem)
    matrices = layer_matrices(problem, variables)
    for layer in measure_solution(problem, variables):
        means = class_means(problem, matrices[layer.name])[0].numpy()
        expected = np.linalg.svd(means, compute_uv=False)
        assert layer.spectra.class_means == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert layer.metrics["class_mean_rank"] == np.linalg.matrix_rank(means)


def test_single_samples_and_dead_layers_give_reasons():
    problem = model(num_classes=3, depth=2)
    variables = random_variables(problem)
    variables.weights[0].zero_()
    layers = {layer.name: layer for layer in measure_solution(problem, variables)}
    for layer in layers.values():
        undefined = {metric for metric, value in layer.metrics.items() if value is None}
        assert undefined == {metric for warning in layer.warnings for metric in warning.metrics} & undefined
    assert layers["H_2"].metrics["class_mean_rank"] == 0
    assert layers["H_2"].metrics["class_mean_stable_rank"] is None


def test_depth_one_has_features_and_output():
    problem = model(depth=1)
    assert [layer.name for layer in measure_solution(problem, random_variables(problem))] == ["H_1", "output"]


def test_whoever_listens_hears_every_layer():
    problem, heard = model(depth=3), []
    measure_solution(problem, random_variables(problem), progress=lambda **said: heard.append(said))
    assert heard == [{"phase": "measuring", "current": index, "total": 6} for index in range(6)]


def test_only_the_first_run_is_measured():
    problem = model()
    both = random_variables(problem, runs=2)
    assert measure_solution(problem, both) == measure_solution(problem, both.run(0))
    assert not torch.equal(both.features[0], both.features[1])


def test_where_no_matrix_is_applied_nobody_is_told_to_send_one():
    problem = model(num_classes=3, depth=2, width=4)
    layers = measure_solution(problem, random_variables(problem))
    told = {layer.name: [w.detail for w in layer.warnings if w.code == "no_weights"] for layer in layers}
    assert not told["H_1"]
    assert not told["relu(H_2)"]
    for name in ("H_2", "output"):
        assert told[name]
        assert all(f"applies no matrix to {name}: look at H_1, relu(H_2)" in detail for detail in told[name])

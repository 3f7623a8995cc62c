"""find_dufm_optimum: from a command to a report."""

import numpy as np
import pytest
import safetensors.numpy

from analysis.commands import FindDufmOptimum


class Surroundings:
    job_id, run, step, device, service_version = "job_1", None, None, "cpu", "0"

    def __init__(self):
        self.artifacts, self.heard = {}, []

    def keep_artifact(self, name, content):
        self.artifacts[name] = content

    def progress(self, **told):
        self.heard.append(told)

    def previous_report(self):
        return None


def find(**parameters):
    surroundings = Surroundings()
    command = FindDufmOptimum.model_validate(
        {"kind": "find_dufm_optimum", "restarts": 16, "budget_seconds": 5, **parameters}
    )
    return command.run(surroundings), surroundings


def loss_of(matrices, *, depth, decays, feature_decay, samples_per_class):
    hidden = matrices["W_1"] @ matrices["H_1"]
    for index in range(2, depth + 1):
        hidden = matrices[f"W_{index}"] @ np.maximum(hidden, 0)
    num_classes = hidden.shape[0]
    targets = np.repeat(np.eye(num_classes), samples_per_class, axis=1)
    penalty = feature_decay * (matrices["H_1"] ** 2).sum()
    penalty += sum(decay * (matrices[f"W_{index}"] ** 2).sum() for index, decay in enumerate(decays, start=1))
    return ((hidden - targets) ** 2).sum() / (2 * hidden.shape[1]) + penalty / 2


def test_the_downloaded_matrices_have_the_loss_with_the_problems_own_decays_and_samples():
    decays, feature_decay = (0.002, 0.008, 0.004), 0.0008
    report, surroundings = find(
        num_classes=3, depth=3, weight_decay=decays, feature_decay=feature_decay, samples_per_class=5, width=9
    )
    matrices = safetensors.numpy.load(surroundings.artifacts["solution.safetensors"])
    assert [matrices[f"W_{index}"].shape for index in (1, 2, 3)] == [(9, 9), (9, 9), (3, 9)]
    loss = loss_of(matrices, depth=3, decays=decays, feature_decay=feature_decay, samples_per_class=5)
    assert report.optimum.loss == pytest.approx(loss, rel=1e-10)
    # n λ_H Π λ_W is that of all decays 0.004, where K = 3 and L = 3 have DNC as their optimum.
    assert report.optimum.references.effective_decay == pytest.approx(0.004)
    assert report.optimum.loss == pytest.approx(report.optimum.references.dnc, rel=1e-7)
    assert report.optimum.source == "dnc"
    assert report.optimum.stationarity.stationary
    assert [layer.name for layer in report.layers] == ["H_1", "H_2", "relu(H_2)", "H_3", "relu(H_3)", "output"]
    assert surroundings.heard


def test_strong_decay_has_zero_as_its_optimum():
    report, _ = find(num_classes=4, depth=3, weight_decay=0.5, feature_decay=0.5)
    assert report.optimum.source == "zero"
    assert report.optimum.structure == "zero"
    assert report.optimum.loss == 0.5


def test_a_bare_command_starts_from_the_catalogue_and_is_no_worse():
    report, _ = find(num_classes=10, depth=5, restarts=0)
    known = report.optimum.references.best_known
    assert known is not None
    assert report.optimum.loss <= known * (1 + 1e-7)
    assert not report.optimum.improves_best_known or report.optimum.loss < known


def test_a_search_keeps_to_widths_that_known_solutions_do_not_fit_into():
    # The catalogue's solutions of K = 6, L = 3 need six neurons in some layers.
    report, surroundings = find(num_classes=6, depth=3, width=[5, 4, 3], restarts=4)
    matrices = safetensors.numpy.load(surroundings.artifacts["solution.safetensors"])
    assert [matrices[name].shape for name in ("H_1", "W_1", "W_2", "W_3")] == [(5, 6), (4, 5), (3, 4), (6, 3)]
    loss = loss_of(matrices, depth=3, decays=(0.004,) * 3, feature_decay=0.004, samples_per_class=1)
    assert report.optimum.loss == pytest.approx(loss, rel=1e-10)
    assert report.optimum.references.lower_bound <= report.optimum.loss < report.optimum.references.zero
    assert report.optimum.source == "search"


def test_a_decay_of_zero_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="infimum"):
        find(num_classes=3, depth=3, weight_decay=0.0)


def test_what_progress_raises_stops_the_search():
    class Stopped(Exception):
        pass

    def stop(**_):
        raise Stopped

    surroundings = Surroundings()
    surroundings.progress = stop
    command = FindDufmOptimum.model_validate({"kind": "find_dufm_optimum", "num_classes": 5, "depth": 3})
    with pytest.raises(Stopped):
        command.run(surroundings)

"""`make demo`, shortened: what it prints, what it leaves, and that its numbers are those of the posted features."""

import json
import re
import signal
import urllib.request

import numpy as np
import pytest
from safetensors.numpy import load_file
from service_process import wait_for

pytestmark = pytest.mark.xdist_group("demo")
METRICS = ("trace_ratio", "nc1", "rank", "simplex_distance", "nearest_centre")


def measure(features, labels, *, nc1_rank):
    """The table's metrics from their formulas, in float64, with full matrices."""
    features, classes = features.astype(np.float64), np.unique(labels)
    means = np.stack([features[labels == label].mean(axis=0) for label in classes])
    centered = means - means.mean(axis=0)
    residuals = features - means[labels]
    within, between = residuals.T @ residuals / len(features), centered.T @ centered / len(classes)
    values, vectors = np.linalg.eigh(between)
    inverse = vectors[:, -nc1_rank:] / values[-nc1_rank:] @ vectors[:, -nc1_rank:].T
    singular_values = np.linalg.svd(means, compute_uv=False)
    gram = centered @ centered.T
    simplex = np.eye(len(classes)) - 1 / len(classes)
    nearest = [np.argmin(((means - sample) ** 2).sum(axis=1)) for sample in features]
    return {
        "trace_ratio": np.trace(within) / np.trace(between),
        "nc1": np.trace(within @ inverse) / len(classes),
        "rank": (singular_values > 1e-3 * singular_values[0]).sum(),
        "simplex_distance": np.linalg.norm(gram / np.linalg.norm(gram) - simplex / np.linalg.norm(simplex)),
        "nearest_centre": np.mean(nearest == labels),
    }


def printed_table(text):
    """The printed numbers: layer → metric → (first epoch, last epoch)."""
    rows = re.findall(r"^((?:stem|head)\S*) +(\S+ → \S+.*)$", text, flags=re.MULTILINE)
    pairs = {name: re.findall(r"(\S+) → (\S+)", cells) for name, cells in rows}
    return {
        name: {metric: tuple(map(float, pair)) for metric, pair in zip(METRICS, found, strict=True)}
        for name, found in pairs.items()
    }


def test_ends_by_itself_and_leaves_nothing_running(finished_demo):
    demo, _ = finished_demo
    assert demo.process.returncode == 0, demo.errors.read_text()
    assert demo.errors.read_text() == ""  # the bar is for terminals
    assert demo.survivors() == []


def test_says_where_everything_lies(finished_demo):
    demo, folder = finished_demo
    text = demo.output.read_text()
    report = json.loads((folder / "report.json").read_text())
    assert report["run"].startswith("digits-")
    assert report["step"] == 8
    assert re.search(rf"http://127\.0\.0\.1:\d+/v1/jobs/{report['job_id']}/report", text)
    assert str(folder / "report.json") in text
    assert str(folder / "features") in text
    steps = [int(path.stem.removeprefix("epoch-")) for path in sorted((folder / "features").iterdir())]
    assert steps == [0, 2, 4, 8]
    assert [int(step) for step in re.findall(r"^epoch +(\d+): .*posted as job", text, flags=re.MULTILINE)] == steps


def test_posted_features_are_those_of_a_network_without_biases(finished_demo):
    _, folder = finished_demo
    tensors = load_file(folder / "features" / "epoch-0008.safetensors")
    names = [layer["name"] for layer in json.loads((folder / "report.json").read_text())["layers"]]
    assert sum(name.startswith("head.") and not name.endswith(".relu") for name in names) >= 5
    for before, after in zip(names[0::2], names[1::2], strict=True):
        np.testing.assert_array_equal(tensors[f"features.{after}"], np.maximum(tensors[f"features.{before}"], 0))
    for source, target in zip(names[1:-1:2], names[2::2], strict=True):
        expected = tensors[f"features.{source}"] @ tensors[f"weights.{source}"].T
        np.testing.assert_allclose(tensors[f"features.{target}"], expected, rtol=1e-3, atol=1e-4)
    assert tensors[f"weights.{names[-1]}"].shape == (10, tensors[f"features.{names[-1]}"].shape[1])


@pytest.mark.parametrize(("epoch", "column"), [(0, 0), (8, 1)])
def test_table_is_what_the_posted_features_give(finished_demo, epoch, column):
    demo, folder = finished_demo
    table = printed_table(demo.output.read_text())
    tensors = load_file(folder / "features" / f"epoch-{epoch:04}.safetensors")
    ranks = {
        layer["name"]: layer["details"]["within_class_variability"]["rank_used"]
        for layer in json.loads((folder / "report.json").read_text())["layers"]
    }
    assert list(table) == list(ranks)
    assert len(table) == 14
    for name, printed in table.items():
        expected = measure(tensors[f"features.{name}"], tensors["labels"], nc1_rank=ranks[name])
        compared = set(METRICS) - ({"nc1"} if epoch == 0 else set())  # the report at hand has the last epoch's ranks
        for metric in compared:
            assert printed[metric][column] == pytest.approx(expected[metric], rel=1e-5), (name, metric)


def test_kept_service_goes_on_until_the_next_demo_whose_interruption_ends_everything(start_demo):
    kept = start_demo("--epochs", "1", "--keep")
    assert kept.process.wait(100) == 0, kept.errors.read_text()
    text = kept.output.read_text()
    address, pid = re.search(r"http://[\d.:]+", text)[0], int(re.search(r"kill (\d+)", text)[1])
    assert pid in kept.survivors()
    with urllib.request.urlopen(f"{address}/healthz", timeout=10) as answer:
        assert answer.status == 200

    interrupted = start_demo("--epochs", "100000")
    wait_for(lambda: "posted as job" in interrupted.output.read_text(), "the first posting", seconds=60)
    assert kept.survivors() == []
    assert interrupted.stop(signal.SIGINT) == 130
    assert interrupted.survivors() == []


def test_wrong_number_of_epochs_is_refused(start_demo):
    demo = start_demo("--epochs", "0")
    assert demo.process.wait(60) == 2
    assert "give one from 1" in demo.errors.read_text()

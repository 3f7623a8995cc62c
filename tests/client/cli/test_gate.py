"""`collapse gate` on real runs: its exit codes, its reasons, and a shell script that lives by them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from service_process import wait_for

from collapse_client.gate.grammar import written

ODD = written('odd, "name" (x) \\')
pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    "conditions",
    [
        ["rank(last) >= 6"],
        ["rank(head.0) == 6", "rank(head.2) < 2"],
        [f"rank({ODD}) >= 6", "rank(#2) >= 6", "rank(-1) >= 6", "rank(#-3) != 5"],
        ["rank(any) < 2", "nc1(last) < 0.1", "equinorm(all) < 0.9"],
        ["rank(last) >= 0.9 * rank(last, first_step)", "rank(head.2) <= 0.5 * rank(head.2, previous_step)"],
        ["rank(head.2) < rank(first)", "1 < rank(last)"],
        ["nc3(all) < 2", "weight_rank(all) == 6"],  # of the layers that have weights
    ],
)
def test_what_holds(collapse, training, conditions):
    done = collapse("gate", training, *conditions)
    assert done.stdout.count("holds: ") == len(conditions)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("rank(head.2) >= 6", ["1 in layer head.2", "at step 2", "job_"]),
        ("rank(all) >= 6", ["1 in layer head.2"]),
        ("rank(any) > 6", ["6 in layer head.0", f"6 in layer {ODD}"]),
        ("rank(all) >= 0.9 * rank(all, previous_step)", ["1 in layer head.2 at step 2", "6 in layer head.2 at step 1"]),
        ("nc1(last) > nc1(last, first_step)", ["against"]),
    ],
)
def test_what_fails_says_so(collapse, training, condition, words):
    done = collapse("gate", training, "rank(first) > 0", condition, code=1)
    assert done.stdout.startswith("holds: rank(first) > 0")
    assert done.stderr.startswith(f"collapse: fails: {condition}: ")
    assert all(word in done.stderr for word in words)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("rank(hed.2) >= 6", ["no layer 'hed.2'", "head.0, head.2", ODD]),
        ("rnk(last) >= 6", ["no metric 'rnk'", "Did you mean 'rank'?", "equinorm", "nc1"]),
        ("rank(#3) >= 6", ["3 layers", "index 3"]),
        ("rank(3) >= 6", ["index 3"]),
        ("nc3(first) < 1", ["no value at step 2", "the classifier belongs to the last layer"]),
        ("nc1(all) < 0.1 and", ["should end here"]),
        ("rank last", ["layer is missing"]),
    ],
)
def test_what_cannot_be_told(collapse, training, condition, words):
    done = collapse("gate", training, condition, code=2)
    assert all(word in done.stderr for word in words), done.stderr


def test_an_undefined_value_has_the_reports_reason(collapse, client):
    same = np.ones((6, 2))
    job = client.wait(client.analyse({"labels": np.arange(6) % 2, "features.a": same}, run="flat", step=1))
    [layer] = client.report(job["id"])["layers"]
    [reason] = [w["detail"] for w in layer["warnings"] if "variability_trace_ratio" in w["metrics"]]
    done = collapse("gate", "flat", "trace_ratio(a) < 0.1", code=2)
    assert reason in done.stderr
    assert job["id"] in done.stderr
    # One layer that fails is a clear no, whatever another one is.
    collapse("gate", "flat", "trace_ratio(a) < 0.1", "rank(a) > 5", code=1)


def test_steps(collapse, training):
    collapse("gate", training, "rank(head.2) == 6", "--step", 1)
    collapse("gate", training, "rank(head.0) == 6", "--every")
    collapse("gate", training, "rank(head.2) < 2", "--since", 2)
    assert "at step 2" in collapse("gate", training, "rank(all) == 6", "--every", code=1).stderr
    collapse("gate", training, "nc1(last) < nc1(last, previous_step)", "--every")
    assert (
        "none is before it"
        in collapse("gate", training, "nc1(last) < nc1(last, previous_step)", "--step", 0, code=2).stderr
    )
    assert (
        "Its steps: 0 succeeded, 1 succeeded, 2 succeeded"
        in collapse("gate", training, "rank(last) > 1", "--step", 7, code=2).stderr
    )
    assert "no step that has ended" in collapse("gate", training, "rank(last) > 1", "--since", 7, code=2).stderr


def test_an_unknown_run(collapse, training):
    assert f"Did you mean {training!r}?" in collapse("gate", training[:-1], "rank(last) > 1", code=2).stderr
    listed = collapse("gate", "zzzz", "rank(last) > 1", code=2).stderr
    assert re.search(rf"There are, last changed first: .*{re.escape(training)}", listed)


def test_a_dead_service_is_no_clear_no(collapse):
    assert "does not answer" in collapse("gate", "r", "rank(last) > 1", "--url", "http://127.0.0.1:9", code=2).stderr


def test_an_error_of_our_own_is_no_clear_no(collapse, training, monkeypatch):
    monkeypatch.setattr("collapse_client.gate.check", lambda *_, **__: 1 / 0)
    assert "ZeroDivisionError" in collapse("gate", training, "rank(last) > 1", code=2).stderr


def test_json(answer, training):
    [held, unknown] = answer("gate", training, "rank(head.2) < 2", "nc3(head.0) < 1", code=2)
    assert (held["condition"], held["holds"], held["reasons"]) == ("rank(head.2) < 2", True, [])
    [case] = held["cases"]
    value = {name: value for name, value in case["left"].items() if name != "job_id"}
    assert value == {"step": 2, "layer": "head.2", "metric": "class_mean_rank", "value": 1.0}
    assert unknown["holds"] is None
    assert unknown["reasons"]


def test_numbers_as_names(collapse, client):
    arrays = {"labels": np.arange(6) % 3}
    ranks = {"0": 3, "2": 2, "4": 1}
    for name, rank in ranks.items():
        means = np.zeros((3, 3))
        means[:, :rank] = np.tril(np.ones((3, rank)))
        arrays[f"features.{name}"] = means[arrays["labels"]]
    client.wait(client.analyse(arrays, run="sequential", layers=list(ranks)))
    collapse("gate", "sequential", "rank(2) == 2", "rank(#2) == 1", 'rank("4") == 1', "rank(last) == 1")
    assert "no layer '1'" in collapse("gate", "sequential", "rank(1) == 2", code=2).stderr


def test_without_steps_the_latest_analysis_counts(collapse, client):
    for rank in (3, 2):
        means = np.eye(4)[:3]
        means[rank:] = means[0]
        labels = np.arange(6) % 3
        client.wait(client.analyse({"labels": labels, "features.a": means[labels]}, run="no steps"))
    collapse("gate", "no steps", "rank(a) == 2")
    assert "have no steps" in collapse("gate", "no steps", "rank(a) == 2", "--step", 1, code=2).stderr


def test_a_failed_analysis_of_the_latest_step_is_told(collapse, client, broken_features):
    labels = np.arange(6) % 2
    client.wait(client.analyse({"labels": labels, "features.a": np.eye(2)[labels]}, run="breaks", step=1))
    failed = client.submit("measure_collapse", features=broken_features, run="breaks", step=2)
    wait_for(lambda: client.job(failed["id"])["status"] == "failed", "the failure")
    done = collapse("gate", "breaks", "rank(a) == 2", code=2)
    assert client.job(failed["id"])["error"]["detail"] in done.stderr
    assert "has failed" in done.stderr
    collapse("gate", "breaks", "rank(a) == 2", "--step", 1)


def test_wait(collapse, client, long_job):
    labels = np.arange(6) % 2
    features = {"labels": labels, "features.a": np.eye(2)[labels]}
    client.analyse(features, run="waits", step=1)
    done = collapse("gate", "waits", "rank(a) == 2", code=2)
    assert "no measurements yet" in done.stderr
    assert "1 queued" in done.stderr
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "collapse_client.cli",
            "gate",
            "waits",
            "rank(a) == 2",
            "--wait",
            "--url",
            client_url(client),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    client.cancel(long_job)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert printed.startswith("holds: rank(a) == 2: 2 in layer a at step 1")


def client_url(client) -> str:
    return client._transport._url


SCRIPT = """
set -e
collapse() { "$PYTHON" -m collapse_client.cli "$@"; }
sleep 1000 & TRAINING=$!
trap 'kill $TRAINING 2>/dev/null || true' EXIT
collapse gate "$RUN" 'rank(first) >= 6'                                         # holds: goes on
collapse gate "$RUN" 'rank(first) >= 6' --url http://127.0.0.1:9 || [ $? -ne 1 ] || kill $TRAINING
kill -0 $TRAINING && echo "lives on without a service"
collapse gate "$RUN" 'rank(all) >= 6' || [ $? -ne 1 ] || kill $TRAINING
wait $TRAINING || echo "stopped: $?"
collapse gate "$RUN" 'rank(all) >= 6'
echo "never said"
"""


def test_a_shell_script_with_set_e(environment, training, tmp_path: Path):
    script = tmp_path / "watch.sh"
    script.write_text(SCRIPT)
    done = subprocess.run(
        ["sh", str(script)],
        env={**environment, "RUN": training, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("holds: rank(first) >= 6")
    assert lines[1:] == ["lives on without a service", "stopped: 143"]
    assert done.stderr.count("fails: rank(all) >= 6") == 2
    assert json.dumps("never said") not in done.stdout

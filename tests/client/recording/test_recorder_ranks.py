"""Several processes of one training, with gloo. Both ranks go through all scenarios: they take seconds to start."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from recorded_networks import batches, head

from collapse_client import Recorder

SCENARIOS = (
    ("features", "all"), ("moments", "all"), ("features", "rank0"), ("moments", "rank0"), ("moments", "broken"),
)  # fmt: skip
RANK = """
import json, sys, warnings
from datetime import timedelta
from torch import distributed, nn
from recorded_networks import batches, head
from collapse_client import Recorder
from collapse_client.recording import ranks

ranks.PATIENCE = timedelta(seconds=5)

rank, port, url, spool, scenarios = int(sys.argv[1]), *sys.argv[2:5], json.loads(sys.argv[5])
distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
share = [(x.double(), y) for x, y in batches()[rank::2]]  # three batches here, two there


def record(mode, who):
    model = nn.parallel.DistributedDataParallel(head().double())
    options = dict(run=f"ranks {mode} {who}", url=url, spool=f"{spool} {mode} {who}", mode=mode, part_bytes=2000)
    if mode == "moments":
        options["second_moments"] = "matrix"
    if who == "broken" and rank == 1:
        options["pool"] = lambda features: 1 / 0
    recorder = None
    if who != "rank0" or rank == 0:
        recorder = Recorder(model, ["2", "4"], close_timeout=60, **options)
    for step in range(2):
        if recorder is None:
            for x, y in share:
                model(x)
            continue
        with recorder.step(step):
            for x, y in share:
                model(x)
                recorder.labels(y)
    if recorder is None:
        return None
    recorder.close()
    return {"sent": sorted(recorder.jobs), "dropped": recorder.dropped}


for mode, who in scenarios:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        done = record(mode, who)
    print(json.dumps([done, [str(warning.message) for warning in warned]]), flush=True)
    distributed.barrier()
distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def ranks(service_url, tmp_path_factory):
    """What each of two ranks has recorded in each scenario, what it warned of, and where the spool would be."""
    spool = tmp_path_factory.mktemp("ranks") / "spool"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(port), service_url, str(spool), json.dumps(SCENARIOS)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0], outputs
    told = [[json.loads(line) for line in output.splitlines()] for output, _ in outputs]
    spools = [Path(f"{spool} {mode} {who}") for mode, who in SCENARIOS]
    return dict(zip(SCENARIOS, zip(*told, spools, strict=True), strict=True))


def report_of(client, run, step):
    [job] = [job for job in client.jobs(run=run) if job["step"] == step]
    return client.report(client.wait(job)["id"])


def alone(client, url, spool, share, **options):
    """The report of one process that sees this share of the batches."""
    with Recorder(head().double(), ["2", "4"], run="alone", url=url, spool=spool, close_timeout=60, **options) as one:
        one.record([(x.double(), y) for x, y in share], step=0)
    return client.report(client.wait(one.jobs[0])["id"])


def assert_same(report, expected):
    assert report["class_counts"] == expected["class_counts"]
    for layer, other in zip(report["layers"], expected["layers"], strict=True):
        assert layer["name"] == other["name"]
        for name, value in other["metrics"].items():
            assert layer["metrics"][name] == (None if value is None else pytest.approx(value, rel=1e-6)), name


@pytest.mark.parametrize("mode", ["features", "moments"])
def test_what_two_ranks_see_is_one_step(ranks, client, service_url, tmp_path, mode):
    (first, _), (second, _), spool = ranks[mode, "all"]
    assert first == {"sent": [0, 1], "dropped": []}
    assert second == {"sent": [], "dropped": []}
    options = {"mode": mode, "second_moments": "matrix"} if mode == "moments" else {}
    expected = alone(client, service_url, tmp_path / "one", batches(), **options)
    assert expected["num_samples"] == 96
    assert expected["layers"][1]["metrics"]["self_duality_distance"] is not None
    for step in range(2):
        assert_same(report_of(client, f"ranks {mode} all", step), expected)
    assert not spool.exists()


@pytest.mark.parametrize("mode", ["features", "moments"])
def test_a_recorder_on_one_rank_alone_does_not_hang(ranks, client, service_url, tmp_path, mode):
    (first, warned), (second, _), _ = ranks[mode, "rank0"]
    assert first == {"sent": [0, 1], "dropped": []}
    assert second is None
    assert any("Only rank 0 of 2 has a Recorder" in warning for warning in warned)
    options = {"second_moments": "matrix"} if mode == "moments" else {}
    expected = alone(client, service_url, tmp_path / "one", batches()[::2], mode=mode, **options)
    assert_same(report_of(client, f"ranks {mode} rank0", 1), expected)


def test_a_rank_whose_recording_fails_does_not_stop_the_other(ranks, client):
    (first, _), (second, warned), _ = ranks["moments", "broken"]
    assert first == {"sent": [0, 1], "dropped": []}
    assert second == {"sent": [], "dropped": [0, 1]}
    assert any("division by zero" in warning for warning in warned)
    assert report_of(client, "ranks moments broken", 0)["num_samples"] == 56

"""Several processes of one training, with gloo."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from recorded_networks import batches, head

from collapse_client import Recorder

RANK = """
import sys, warnings
from datetime import timedelta
import torch
from torch import distributed, nn
from recorded_networks import batches, head
from collapse_client import Recorder
from collapse_client.recording import ranks

ranks.PATIENCE = timedelta(seconds=5)

rank, port, url, spool, mode, who = int(sys.argv[1]), *sys.argv[2:]
distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
model = nn.parallel.DistributedDataParallel(head().double())
options = dict(run=f"ranks {mode} {who}", url=url, spool=spool, mode=mode, part_bytes=2000, close_timeout=60)
if mode == "moments":
    options["second_moments"] = "matrix"
recorder = Recorder(model, ["2", "4"], **options) if who in ("all", f"rank{rank}") else None
if who == "broken" :
    pool = "flatten" if rank == 0 else (lambda features: 1 / 0)
    recorder = Recorder(model, ["2", "4"], pool=pool, **options)
share = [(x.double(), y) for x, y in batches()[rank::2]]  # three batches here, two there
for step in range(2):
    if recorder is None:
        for x, y in share:
            model(x)
        continue
    with recorder.step(step):
        for x, y in share:
            model(x)
            recorder.labels(y)
if recorder is not None:
    recorder.close()
    print(sorted(recorder.jobs), recorder.dropped)
distributed.barrier()
distributed.destroy_process_group()
"""


def run_ranks(url, spool, mode, who="all"):
    """Run both, and give what each printed, and what it warned of."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(port), url, str(spool), mode, who],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [rank.communicate(timeout=120) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    return outputs


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
def test_what_two_ranks_see_is_one_step(client, service_url, tmp_path, mode):
    (first, _), (second, _) = run_ranks(service_url, tmp_path / "spool", mode)
    assert first.splitlines()[-1] == "[0, 1] []"
    assert second.splitlines()[-1] == "[] []"
    options = {"mode": mode, "second_moments": "matrix"} if mode == "moments" else {}
    expected = alone(client, service_url, tmp_path / "one", batches(), **options)
    assert expected["num_samples"] == 96
    assert expected["layers"][1]["metrics"]["self_duality_distance"] is not None
    for step in range(2):
        assert_same(report_of(client, f"ranks {mode} all", step), expected)
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize("mode", ["features", "moments"])
def test_a_recorder_on_one_rank_alone_does_not_hang(client, service_url, tmp_path, mode):
    (first, errors), (second, _) = run_ranks(service_url, tmp_path / "spool", mode, "rank0")
    assert first.splitlines()[-1] == "[0, 1] []"
    assert second == ""
    assert "Only rank 0 of 2 has a Recorder" in errors
    report = report_of(client, f"ranks {mode} rank0", 1)
    assert_same(
        report,
        alone(
            client,
            service_url,
            tmp_path / "one",
            batches()[::2],
            mode=mode,
            **({"second_moments": "matrix"} if mode == "moments" else {}),
        ),
    )


def test_a_rank_whose_recording_fails_does_not_stop_the_other(client, service_url, tmp_path):
    (first, _), (second, errors) = run_ranks(service_url, tmp_path / "spool", "moments", "broken")
    assert first.splitlines()[-1] == "[0, 1] []"
    assert second.splitlines()[-1] == "[] [0, 1]"
    assert "division by zero" in errors
    assert report_of(client, "ranks moments broken", 0)["num_samples"] == 56

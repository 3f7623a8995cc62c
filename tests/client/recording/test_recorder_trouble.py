"""Servers that are dead, killed, slow, full or strict, and a training that does not care."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from recorded_networks import batches, head
from service_process import wait_for
from slow_proxy import slow_proxy
from torch import nn

from collapse_client import Client, Recorder
from collapse_client.errors import ServiceUnreachable
from collapse_client.recording import push
from collapse_client.recording.errors import RecordingWarning
from collapse_client.recording.spool import Manifest, Progress, finished_steps, parts_of

QUICK = {"COLLAPSE_LEASE_SECONDS": "2", "COLLAPSE_SWEEP_SECONDS": "0.3"}


def train(recorder, steps, *, loader=None, on_step=None):
    """Train for so many recorded steps; the seconds of each, and the last loss."""
    model, seconds = recorder.model, []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(steps):
        started = time.perf_counter()
        with recorder.step(step):
            for images, labels in loader or batches():
                loss = nn.functional.cross_entropy(model(images), labels)
                recorder.labels(labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        seconds.append(time.perf_counter() - started)
        if on_step:
            on_step(step)
    return seconds, float(loss.detach())


def steps_on_disk(spool):
    return [Manifest.read(folder).step for folder in finished_steps(spool)]


@pytest.fixture
def warned():
    """The warnings so far, from any thread."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield lambda: [str(warning.message) for warning in found if warning.category is RecordingWarning]
        others = [str(warning.message) for warning in found if warning.category is not RecordingWarning]
        assert others == []


@pytest.mark.parametrize("when_full", ["wait", "drop", "spill"])
def test_nobody_answers(make_recorder, spool, warned, when_full):
    recorder = make_recorder(head(), ["2", "4"], when_full=when_full, wait_share=0.0, queue_bytes=20_000)
    _, loss = train(recorder, 200)
    assert loss < 0.5
    recorder.close()
    assert sorted([*recorder.dropped, *steps_on_disk(spool)]) == list(range(200))
    assert (recorder.dropped == []) == (when_full == "spill")
    kinds = [text for words in ("is it running", "are left out", "collapse push") for text in warned() if words in text]
    assert kinds == warned()
    assert len(kinds) == (2 if when_full == "spill" else 3)
    assert f"collapse push {spool}" in kinds[-1]


def test_the_service_is_killed_in_the_middle_and_started_again(start_service, spool, warned):
    service = start_service("--workers", "1", **QUICK)
    port = service.url().rpartition(":")[2]

    def act(step):
        if step == 60:
            wait_for(lambda: len(recorder.jobs) > 10, "some steps are sent")
            service.stop(signal.SIGKILL)
            service.end()

    model = head()
    recorder = Recorder(model, ["2", "4"], run="killed", url=service.url(), spool=spool, close_timeout=0.0)
    _, loss = train(recorder, 200, on_step=act)
    assert loss < 0.5
    recorder.close()
    assert recorder.dropped == []
    assert any("does not answer" in text for text in warned())
    assert len(warned()) == 2
    sent = set(recorder.jobs)
    assert sent | set(steps_on_disk(spool)) == set(range(200))
    again = start_service("--workers", "1", "--port", port, **QUICK)
    with Client(again.url()) as client:
        lines = []
        result = push(client, spool, on_step=lines.append)
        assert len(lines) == len(result.sent) == 200 - len(sent)
        assert not result.refused
        assert {job["step"] for job in client.jobs(run="killed", limit=100)} == set(range(200))
        assert push(client, spool) == type(result)((), (), (), ())
    assert not spool.exists()


def test_a_recorder_outlives_a_restart(start_service, spool, warned):
    service = start_service("--workers", "1", **QUICK)
    url = service.url()
    with Recorder(head(), ["4"], run="restart", url=url, spool=spool, close_timeout=60.0) as recorder:
        train(recorder, 3)
        assert recorder.flush(30)
        service.stop(signal.SIGKILL)
        service.end()
        train(recorder, 5)
        wait_for(warned, "the trouble is seen")
        start_service("--workers", "1", "--port", url.rpartition(":")[2], **QUICK).url()
    assert set(recorder.jobs) == set(range(5))
    assert not spool.exists()
    assert len(warned()) == 1


def test_a_slow_service_costs_no_more_than_its_share(service_url, spool, warned):
    with slow_proxy(service_url, bytes_per_second=100_000) as (url, _):
        recorder = Recorder(
            head(width=64), ["2", "4"], run="slow", url=url, spool=spool, queue_bytes=1, wait_share=0.5, close_timeout=0
        )
        started = time.perf_counter()
        _, loss = train(recorder, 30)
        elapsed = time.perf_counter() - started
        assert recorder.dropped  # 50 kB a step cannot pass
        assert recorder.waited_seconds <= 0.5 * elapsed
        assert loss < 0.5
        recorder.close()
    assert any("are left out" in text for text in warned())


def test_once_closed_a_recorder_is_silent(spool, warned):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        before = set(threading.enumerate())
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        recorder = Recorder(head(), ["4"], run="silent", url=url, spool=spool, close_timeout=0)
        train(recorder, 1)
        connection, _ = silent.accept()
        recorder.close()
        assert len(warned()) == 1
        assert f"collapse push {spool}" in warned()[0]
        connection.close()
    wait_for(lambda: set(threading.enumerate()) <= before, "the request that was on its way has failed")
    assert len(warned()) == 1


def test_waiting_is_enough_for_a_service_that_is_only_a_little_slow(service_url, spool, warned):
    with slow_proxy(service_url, bytes_per_second=2_000_000) as (url, _):
        recorder = Recorder(
            head(), ["4"], run="a bit", url=url, spool=spool, queue_bytes=1, wait_share=1000.0, close_timeout=60
        )
        train(recorder, 5)
        recorder.close()
    assert set(recorder.jobs) == set(range(5))
    assert warned() == []


def test_a_service_without_room_for_another_connection(start_service, spool, warned):
    service = start_service("--workers", "1", COLLAPSE_MAX_CONNECTIONS="2", **QUICK)
    address = ("127.0.0.1", int(service.url().rpartition(":")[2]))
    held = [socket.create_connection(address) for _ in range(2)]
    for connection in held:
        connection.sendall(b"GET /v1/catalogue HTTP/1.1\r\nHost: a\r\n")  # and never more
    recorder = Recorder(head(), ["4"], run="busy", url=service.url(), spool=spool, close_timeout=60.0)
    train(recorder, 3)
    wait_for(warned, "the refusal is seen")
    assert "503" in warned()[0]
    for connection in held:
        connection.close()
    recorder.close()
    assert set(recorder.jobs) == {0, 1, 2}
    assert len(warned()) == 1


@pytest.mark.parametrize("when_full", ["wait", "spill"])
def test_a_body_over_the_limit(start_service, spool, warned, when_full):
    service = start_service("--workers", "1", COLLAPSE_MAX_UPLOAD_BYTES="3000", **QUICK)
    with Recorder(
        head(), ["2", "4"], run="large", url=service.url(), spool=spool, when_full=when_full, close_timeout=30
    ) as recorder:
        train(recorder, 3)
    assert len(warned()) == 1
    assert "smaller part_bytes" in warned()[0]
    assert recorder.jobs == {}
    assert steps_on_disk(spool) == ([0, 1, 2] if when_full == "spill" else [])
    with Client(service.url()) as client:
        result = push(client, spool)
        assert len(result.refused) == len(steps_on_disk(spool))
        assert all("limit" in refused.detail or "larger" in refused.detail for refused in result.refused)
        # in parts that are small enough it goes
        with Recorder(head(), ["2", "4"], run="s", url=service.url(), spool=spool, part_bytes=2000) as smaller:
            smaller.record(batches(), step=0)
            assert smaller.flush(30)
        assert client.wait(smaller.jobs[0], timeout_seconds=60)["status"] == "succeeded"


def test_a_wrong_key_is_told_and_steps_are_kept(start_service, spool, warned):
    service = start_service("--workers", "1", COLLAPSE_API_KEY="right", **QUICK)
    with Recorder(head(), ["4"], run="key", url=service.url(), api_key="wrong", spool=spool, close_timeout=1) as wrong:
        train(wrong, 2)
    assert "401" in warned()[0]
    with Client(service.url(), api_key="right") as client:
        assert [sent.step for sent in push(client, spool).sent] == [0, 1]


def test_features_that_are_not_finite_are_refused_and_the_next_step_goes(service_url, spool, warned):
    model = head()
    with Recorder(model, ["4"], run="nan", url=service_url, spool=spool, close_timeout=60) as recorder:
        for step in range(3):
            with recorder.step(step):
                for images, labels in batches():
                    model(images * (float("nan") if step == 1 else 1.0))
                    recorder.labels(labels)
    assert set(recorder.jobs) == {0, 2}
    assert len(warned()) == 1
    assert "features.4" in warned()[0]


def test_a_push_that_was_cut_goes_on_where_it_was(make_recorder, service_url, spool, warned):
    recorder = make_recorder(head(), ["4"], part_bytes=600)
    recorder.record(batches(), step=4)
    recorder.close()
    [folder] = finished_steps(spool)
    assert len(parts_of(folder)) == 5
    with (
        slow_proxy(service_url, bytes_per_second=20_000) as (url, cut),
        Client(url, timeout=5, retry_seconds=1) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        pushed = threads.submit(push, client, spool)
        wait_for(lambda: (Progress.read(folder) or Progress("")).sent >= 2, "two parts are sent")
        cut()
        assert isinstance(pushed.exception(), ServiceUnreachable)
    before = Progress.read(folder)
    assert 2 <= before.sent < 5
    with Client(service_url) as client:
        [sent] = push(client, spool).sent
        assert client.job(sent.job_id)["parameters"]["features"] == before.features_id
        assert client.features(before.features_id)["num_samples"] == 96


def test_a_set_that_the_service_has_lost_is_sent_anew(make_recorder, service_url, spool, warned):
    recorder = make_recorder(head(), ["4"], part_bytes=600)
    recorder.record(batches(), step=4)
    recorder.close()
    [folder] = finished_steps(spool)
    with Client(service_url) as client:
        features_id = client.open_parts()["id"]
        client.delete_features(features_id)
        Progress(features_id, sent=3).write(folder)
        [sent] = push(client, spool).sent
        assert client.features(client.job(sent.job_id)["parameters"]["features"])["num_samples"] == 96


def test_two_pushes_at_once_send_nothing_twice(make_recorder, service_url, spool, warned):
    recorder = make_recorder(head(), ["4"], run="twice")
    for step in range(6):
        recorder.record(batches(), step=step)
    recorder.close()
    with Client(service_url) as one, Client(service_url) as two:
        with ThreadPoolExecutor(2) as threads:
            results = list(threads.map(push, (one, two), (spool, spool)))
        assert sorted(sent.step for result in results for sent in result.sent) == list(range(6))
        assert sorted(job["step"] for job in one.jobs(run="twice")) == list(range(6))


def test_what_is_no_step_is_not_sent(service_url, spool):
    (spool / "1-a.partial").mkdir(parents=True)
    (spool / "2-b.step").mkdir()
    (spool / "3-c.step").mkdir()
    (spool / "3-c.step" / "manifest.json").write_text("{")
    with Client(service_url) as client:
        result = push(client, spool)
        assert [path.name for path in result.unfinished] == ["1-a.partial"]
        assert [refused.folder.name for refused in result.refused] == ["2-b.step", "3-c.step"]
        assert all("delete it" in refused.detail for refused in result.refused)
        assert push(client, spool / "nowhere").sent == ()


def test_a_spool_that_cannot_be_written(make_recorder, tmp_path, warned):
    (tmp_path / "file").write_text("")
    recorder = make_recorder(head(), ["4"], spool=tmp_path / "file" / "spool")
    _, loss = train(recorder, 50)
    assert loss < 0.9
    recorder.close()
    assert len(warned()) == 1
    assert "could not be written" in warned()[0]


def test_an_error_of_ours_switches_off(make_recorder, spool, warned):
    def breaks(_features):
        raise RuntimeError("a bug")

    recorder = make_recorder(head(), ["4"], pool=breaks)
    _, loss = train(recorder, 50)
    recorder.close()
    assert loss < 0.9
    assert len(warned()) == 1
    assert "switched off; training goes on. a bug" in warned()[0]
    assert not spool.exists()


def test_warnings_that_are_errors_do_not_end_a_training(make_recorder, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorder = make_recorder(head(), ["4"], pool=lambda features: features[:, :0])
        train(recorder, 3)
        recorder.close()
    assert "collapse: " in capsys.readouterr().err


def test_a_step_that_ends_with_an_exception_is_not_sent(make_recorder, spool, warned):
    model = head()
    recorder = make_recorder(model, ["4"], part_bytes=100)

    def fail():
        with recorder.step(0):
            for images, labels in batches():
                model(images)
                recorder.labels(labels)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    train(recorder, 1)
    recorder.close()
    assert steps_on_disk(spool) == [0]
    assert [path.suffix for path in spool.iterdir()] == [".step"]


TRAINING = """
import os, signal, sys, time
import torch
from recorded_networks import batches, head
from collapse_client import Recorder

url, spool, end = sys.argv[1:]
model = head()
recorder = Recorder(model, ["4"], run="script", url=url, spool=spool, close_timeout=float(os.environ["CLOSE"]))
images, labels = map(torch.cat, zip(*batches()))
loader = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(images, labels), batch_size=20, num_workers=2, multiprocessing_context="fork"
)
for epoch in range(3):
    with recorder.step(epoch):
        for x, y in loader:
            model(x)
            recorder.labels(y)
print("trained", flush=True)
if end == "interrupt":
    with recorder.step(3):
        model(images)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
"""


def run_training(url, spool, end, *, close="60"):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "CLOSE": close}
    return subprocess.run(
        [sys.executable, "-c", TRAINING, url, spool, end], env=environment, capture_output=True, text=True, timeout=120
    )


def test_a_script_that_never_closes_with_forked_loaders(service_url, client, spool):
    done = run_training(service_url, spool, "end")
    assert (done.returncode, done.stdout, done.stderr) == (0, "trained\n", "")
    assert not spool.exists()
    assert {job["step"] for job in client.jobs(run="script")} >= {0, 1, 2}


def test_ctrl_c_ends_a_training_and_keeps_what_was_recorded(nobody, spool):
    done = run_training(nobody, spool, "interrupt", close="0.5")
    assert done.returncode == -signal.SIGINT or done.returncode == 130
    assert done.stderr.count("KeyboardInterrupt") == 1
    assert f"collapse push {spool}" in done.stderr
    assert steps_on_disk(spool) == [0, 1, 2]


def test_the_manifest_tells_where_a_step_belongs(make_recorder, spool, warned):
    recorder = make_recorder(head(), ["4"], run="ä/b", tags=["x"], metrics=["variability_trace_ratio"])
    recorder.record(batches(), step=3)
    recorder.close()
    [folder] = finished_steps(spool)
    fields = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    key = fields.pop("key")
    assert fields == {"run": "ä/b", "step": 3, "tags": ["x"], "metrics": ["variability_trace_ratio"]}
    assert len(key) == 32

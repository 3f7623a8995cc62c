"""From an upload to a report: the paths that users take, on one machine and on many, and deaths on the way."""

import os
import signal
import time
from pathlib import Path

import httpx
import pytest
from feature_files import feature_arrays, split
from service_process import wait_for

from collapse_client import JobFailed, ServiceError

pytestmark = pytest.mark.timeout(300)


def test_from_an_upload_to_a_report(client) -> None:
    arrays = feature_arrays(num_samples=500, num_classes=5, dims=(8, 6))
    features = client.upload(arrays)
    job = client.wait(
        client.submit("measure_collapse", features=features["id"], run="r", step=1)["id"], timeout_seconds=60
    )
    report = client.report(job["id"])
    assert [layer["name"] for layer in report["layers"]] == ["layer0", "layer1"]
    labels, samples = arrays["labels"], arrays["features.layer0"].astype(float)
    means = [samples[labels == label].mean(0) for label in range(5)]
    within = sum(((samples[labels == label] - means[label]) ** 2).sum() for label in range(5)) / 500
    centre = sum(means) / 5
    between = sum(((mean - centre) ** 2).sum() for mean in means) / 5
    assert report["layers"][0]["metrics"]["variability_trace_ratio"] == pytest.approx(within / between, rel=1e-9)
    in_parts = client.open_parts()
    for index, part in enumerate(split(arrays, [100, 101])):
        client.put_part(in_parts["id"], index, part)
    client.complete(in_parts["id"])
    again = client.wait(client.submit("measure_collapse", features=in_parts["id"])["id"], timeout_seconds=60)
    same = client.report(again["id"])["layers"][0]["metrics"]
    assert same["within_class_variability"] == pytest.approx(
        report["layers"][0]["metrics"]["within_class_variability"], rel=1e-10
    )
    finished = client.analyse(arrays, run="r", step=2, wait_seconds=30)
    assert finished["status"] == "succeeded"
    assert finished["report"]["step"] == 2
    with pytest.raises(ServiceError) as refused:
        client.submit("measure_collapse", features=features["id"], layers=["layer9"])
    assert (refused.value.status, refused.value.code) == (422, "invalid_request")


def test_a_cancelled_job_stops_within_seconds_and_is_told(client, slow_arrays) -> None:
    features = client.upload(slow_arrays)
    job = client.submit("measure_collapse", features=features["id"], spectra=["features"])
    wait_for(lambda: client.job(job["id"])["progress"]["current"], "progress", seconds=60)
    asked = time.monotonic()
    client.cancel(job["id"])
    wait_for(lambda: client.job(job["id"])["status"] == "cancelled", "the cancel", seconds=20)
    assert time.monotonic() - asked < 5
    with pytest.raises((JobFailed, ServiceError)):
        client.report(job["id"])


def test_killed_parts_come_back_and_every_job_ends_once(service, connect, slow_arrays) -> None:
    client = connect(service)
    features = client.upload(slow_arrays)
    jobs = [client.submit("measure_collapse", features=features["id"], spectra=["features"])["id"]]
    wait_for(lambda: client.job(jobs[0])["progress"]["current"], "progress", seconds=60)
    small = client.upload(feature_arrays())
    jobs += [client.submit("measure_collapse", features=small["id"], step=step)["id"] for step in range(5)]
    for name in ("broker", "api", "worker-1"):  # `make proof` kills each at every moment of a job
        os.kill(service.child(name), signal.SIGKILL)
        service.child(name, start=2)
    ended = [client.wait(job, timeout_seconds=120) for job in jobs]
    assert {job["status"] for job in ended} == {"succeeded"}
    assert ended[0]["attempts"] == 2
    assert [client.report(job)["job_id"] for job in jobs] == jobs


def test_a_gibibyte_goes_through_without_the_api_growing(service, tmp_path) -> None:
    size, chunk = 2**30, os.urandom(2**20)
    num_samples = size // 4096

    def body():
        header = (
            f'{{"features.a":{{"dtype":"F32","shape":[{num_samples},1024],"data_offsets":[0,{size}]}},'
            f'"labels":{{"dtype":"U8","shape":[{num_samples}],"data_offsets":[{size},{size + num_samples}]}}}}'
        ).encode()
        yield len(header).to_bytes(8, "little") + header
        finite = bytes(byte & 0x3F for byte in chunk)  # no exponent of all ones: neither NaN nor infinity
        for _ in range(size // len(chunk)):
            yield finite
        yield bytes(row % 7 for row in range(num_samples))

    response = httpx.post(f"{service.url()}/v1/features", content=body(), timeout=180)
    assert response.status_code == 201
    assert response.json()["num_samples"] == num_samples
    status = Path(f"/proc/{service.child('api')}/status").read_text()
    peak_kib = int(status.split("VmHWM:")[1].split()[0])
    assert peak_kib < 200 * 1024

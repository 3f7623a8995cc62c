"""What an attempt leaves behind for those who watch: its trail in children, its numbers, its lines."""

from dataclasses import replace

import pytest
import torch
from feature_files import feature_arrays, write_file
from prometheus_client import CollectorRegistry
from service_process import wait_for

from analysis import spread
from jobs.store import Filter, NewJob
from jobs.trail import Trail
from worker.attempt import observed
from worker.gpu_memory import watch_gpu_memory
from worker.lease import Stopped
from worker.telemetry import JobTelemetry, SweepTelemetry

KIND = "measure_collapse"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def watched(runner, registry):
    """The runner, and what its numbers are."""
    return replace(runner, telemetry=JobTelemetry(registry))


def ended(registry: CollectorRegistry, code: str) -> float | None:
    return registry.get_sample_value("collapse_jobs_ended_total", {"kind": KIND, "code": code})


def test_children_that_a_running_job_asks_for_are_on_its_trail(services, watched, registry, tmp_path, monkeypatch):
    monkeypatch.setattr(spread, "GROUP_BYTES", 1)
    monkeypatch.setattr(spread, "LARGEST_SHARE", 1e9)
    sets = services.feature_sets
    features = sets.open_set(layer_order=None).id
    for index in range(2):
        part = {name: tensor for name, tensor in feature_arrays(seed=index).items() if not name.startswith(("w", "b"))}
        with sets.files.stage() as staged:
            staged.write(write_file(tmp_path / "part.safetensors", part).read_bytes())
            staged.finish()
            sets.add_part(features, index, staged)
    sets.complete(features)
    command = {"kind": KIND, "features": features}
    job, _ = services.jobs.create(
        NewJob(kind=KIND, parameters=command, features_id=features, trail=Trail(request_id="mine"))
    )
    spreading = replace(watched, settings=watched.settings.model_copy(update={"spread_bytes": 1}))
    spreading.run_job(job.id)
    children = services.jobs.list(Filter(parent=job.id), limit=9)
    assert children
    assert {child.request_id for child in children} == {"mine"}
    assert ended(registry, "waits_for_children") == 1


def test_every_end_is_counted_once_with_its_code(services, watched, registry, submit) -> None:
    watched.run_job(submit(send=False).id)
    watched.run_job(submit(send=False, layers=["nowhere"]).id)
    watched.stopping.set()
    watched.run_job(submit(send=False).id)
    codes = {
        sample.labels["code"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "collapse_jobs_ended_total"
    }
    assert codes.pop("succeeded") == 1
    assert codes.pop("released") == 1
    assert list(codes.values()) == [1], "the layer that is not there"
    assert registry.get_sample_value("collapse_job_attempts_total", {"kind": KIND}) == 3
    assert registry.get_sample_value("collapse_job_run_seconds_count", {"kind": KIND}) == 3
    assert registry.get_sample_value("collapse_leases_lost_total") == 0


def test_a_lease_that_is_lost_is_counted(services, watched, registry, submit, make_sweep) -> None:
    job = services.jobs.claim(submit(send=False).id, lease_seconds=-1)
    sweep = make_sweep(services)
    sweep.telemetry = SweepTelemetry(registry)
    with observed(job, watched.telemetry, waited_seconds=0) as attempt:
        lease = watched._lease(job, job.lease_token, attempt)
        sweep.sweep_jobs()
        with pytest.raises(Stopped) as stopped:
            lease.succeed(body="{}", etag="e", measurements=[], artifacts=[])
        lease.stop(stopped.value)
    assert ended(registry, "lease_lost") == registry.get_sample_value("collapse_leases_lost_total") == 1
    assert registry.get_sample_value("collapse_sweep_repairs_total", {"outcome": "requeued"}) == 1
    assert registry.get_sample_value("collapse_sweep_repairs_total", {"outcome": "failed"}) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_the_memory_of_the_gpu_is_told(registry) -> None:
    watch_gpu_memory(registry, "cuda")
    used = wait_for(
        lambda: registry.get_sample_value("collapse_gpu_memory_used_bytes", {"device": "cuda"}), "the driver's answer"
    )
    assert used < torch.cuda.mem_get_info("cuda")[1]

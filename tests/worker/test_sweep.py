"""One round of the sweep at a time, on a real broker."""

from dataclasses import replace
from datetime import timedelta

import pytest
from feature_files import feature_arrays

from jobs.queue import Queue, create_celery
from jobs.tables import Features
from worker.sweep import Sweep


@pytest.fixture
def sweep(services, make_sweep) -> Sweep:
    return make_sweep(services)


def test_a_message_that_is_there_is_not_sent_again(services, sweep, submit) -> None:
    job = submit(send=True)
    services.repair.mark_unsent([job.id])  # as if the publisher had not heard that the broker took it
    sweep.sweep_jobs()
    assert length(services.queue) == 1


def test_a_lost_message_is_sent_once(services, sweep, submit) -> None:
    jobs = {submit(send=False).id for _ in range(3)}
    services.repair.mark_unsent(list(jobs))
    for _ in range(3):
        sweep.sweep_jobs()
    assert services.queue.waiting() == jobs
    assert length(services.queue) == 3


def test_a_job_without_an_owner_is_queued_and_sent(services, sweep, submit) -> None:
    job = submit(send=False)
    services.jobs.claim(job.id, lease_seconds=-1)
    sweep.sweep_jobs()
    assert services.jobs.get(job.id).status == "queued"
    assert services.queue.waiting() == {job.id}


def test_house_is_kept(services, sweep, upload) -> None:
    kept = upload(feature_arrays(seed=1))
    gone = upload(feature_arrays(seed=2))
    with services.database.write() as session:
        session.get(Features, gone).expires_at = services.database.now() - timedelta(seconds=1)
    sweep.keep_house()
    assert services.feature_sets.store.expired() == []
    assert services.feature_sets.files.untouched(for_seconds=-1) == [services.feature_sets.store.get(kept).sha256]


def test_no_broker_loses_no_job(services, make_sweep, submit) -> None:
    job = submit(send=False)
    services.repair.mark_unsent([job.id])
    nowhere = Queue(create_celery("redis://127.0.0.1:1/0"))
    with pytest.raises(Exception, match="queue does not answer"):
        make_sweep(replace(services, queue=nowhere)).sweep_jobs()
    assert services.repair.perhaps_unsent(older_than_seconds=60) == {job.id: "cpu"}
    nowhere.close()


def test_what_waits_for_a_gpu_goes_to_a_cpu_when_the_last_gpu_has_gone(services, sweep, submit) -> None:
    job = submit(send=False, queue="gpu")
    services.workers.arrive("here", device="cpu", queues=["cpu"], memory_bytes=1)
    services.workers.arrive("there", device="cuda", queues=["gpu", "cpu"], memory_bytes=1)
    sweep.sweep_jobs()
    assert services.jobs.get(job.id).queue == "gpu"
    services.workers.leave("there")
    sweep.sweep_jobs()
    assert services.jobs.get(job.id).queue == "cpu"
    assert length(services.queue) == 1


def length(queue: Queue) -> int:
    return int(queue._redis.llen("cpu"))

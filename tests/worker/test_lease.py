"""The lease: what its thread does when the computation does not come back."""

import threading

import pytest
from service_process import wait_for

from worker.lease import Lease, Stopped


@pytest.fixture
def hold(services, submit):
    """A claimed job and a lease on it whose last resort is an event instead of death."""

    def make(**changes: object):
        settings = services.settings.model_copy(update={"cancel_grace_seconds": 0.2, **changes})
        job = services.jobs.claim(submit(send=False).id, lease_seconds=settings.lease_seconds)
        died, stopping = threading.Event(), threading.Event()
        lease = Lease(services.jobs, settings, job_id=job.id, token=job.lease_token, stopping=stopping, die=died.set)
        return job, lease, died, stopping

    return make


def test_the_lease_is_renewed_while_the_computation_is_silent(services, hold) -> None:
    job, lease, _, _ = hold()
    with lease:
        wait_for(lambda: services.jobs.get(job.id).lease_expires_at > job.lease_expires_at, "a renewal")


def test_a_computation_that_ignores_a_cancel_is_ended_by_force(services, hold) -> None:
    job, lease, died, _ = hold()
    with lease:
        services.jobs.request_cancel(job.id)
        assert died.wait(15)
        assert services.jobs.get(job.id).status == "cancelled"


def test_a_computation_that_ignores_a_stop_is_ended_by_force_and_goes_back(services, hold) -> None:
    job, lease, died, stopping = hold()
    with lease:
        stopping.set()
        assert died.wait(15)
        back = services.jobs.get(job.id)
        assert (back.status, back.attempts) == ("queued", 0)


def test_a_job_over_its_time_limit_fails(services, hold) -> None:
    job, lease, died, _ = hold(job_time_limit_seconds=0.1)
    with lease:
        assert died.wait(15)
        failed = services.jobs.get(job.id)
        assert (failed.status, failed.error_code) == ("failed", "time_limit_exceeded")


def test_progress_notices_a_cancel(services, hold) -> None:
    job, lease, _, _ = hold()
    with lease:
        services.jobs.request_cancel(job.id)
        with pytest.raises(Stopped) as stopped:
            lease.progress(phase="a", current=1, total=2)
        assert stopped.value.reason == "cancelled"


def test_progress_is_written_once_a_second_at_most(services, hold) -> None:
    job, lease, _, _ = hold()
    with lease:
        for current in range(100):
            lease.progress(phase="a", current=current, total=100)
        assert services.jobs.get(job.id).current == 0

"""The doorbell, on a real broker."""

import signal
import socket
import time

import pytest

from jobs.errors import Unavailable
from jobs.queue import Queue, create_celery


@pytest.fixture
def queue(broker_url: str) -> Queue:
    queue = Queue(create_celery(broker_url))
    yield queue
    queue.close()


def test_messages_wait_in_the_broker(queue) -> None:
    assert queue.waiting() == set()
    for job_id in ("job_a", "job_b"):
        queue.enqueue(job_id)
    assert queue.waiting() == {"job_a", "job_b"}


def test_no_worker_no_answer(queue) -> None:
    queue.require_broker()
    assert not queue.worker_answers()


def test_a_broker_that_is_not_there_is_told_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        queue = Queue(create_celery(f"redis://127.0.0.1:{unused.getsockname()[1]}/0"))
        for ask in (queue.require_broker, queue.waiting, lambda: queue.enqueue("job_a")):
            with pytest.raises(Unavailable):
                ask()
        queue.close()


def test_a_broker_that_does_not_answer_holds_nobody_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing: as a stopped process does
        queue = Queue(create_celery(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
        for ask in (queue.require_broker, lambda: queue.enqueue("job_a")):
            started = time.monotonic()
            signal.alarm(20)  # would end the test run if the default of waiting for ever came back
            with pytest.raises(Unavailable):
                ask()
            signal.alarm(0)
            assert time.monotonic() - started < 10
        queue.close()

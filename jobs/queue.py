"""The doorbell: a Celery message that carries the id of a job and nothing else."""

import json
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from opentelemetry.trace import SpanKind

from jobs.errors import Unavailable
from jobs.tables import CPU, QUEUES
from jobs.tracing import tracer

TASK = "run_job"
BROKER_SECONDS = 2


def create_celery(broker_url: str) -> Celery:
    """The Celery application as publisher and worker share it. Connects to nothing."""
    app = Celery("collapse", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_default_queue=CPU,
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        # By default a publisher blocks for ever on a hung broker.
        broker_transport_options={
            "socket_timeout": BROKER_SECONDS,
            "socket_connect_timeout": BROKER_SECONDS,
            "retry_on_timeout": False,
            "max_retries": 0,
        },
        task_publish_retry=False,
        broker_connection_timeout=BROKER_SECONDS,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
    )
    return app


def connect(broker_url: str, *, seconds: float) -> redis.Redis:
    """The broker for other things than messages; nothing takes longer than so many seconds. Connects to nothing yet."""
    # kombu writes a Unix socket as redis+socket://, redis-py as unix://.
    url = broker_url.replace("redis+socket://", "unix://").replace("?virtual_host=", "?db=")
    return redis.Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=None)


class Queue:
    """Sends jobs to workers, and tells whether broker and workers are there."""

    def __init__(self, celery: Celery) -> None:
        self.celery = celery
        self._redis = connect(celery.conf.broker_url, seconds=BROKER_SECONDS)

    def require_broker(self) -> None:
        """Raise `Unavailable` unless the broker answers."""
        try:
            self._redis.ping()
        except (redis.RedisError, OSError) as error:
            raise _unavailable() from error

    def enqueue(self, job_id: str, queue: str = CPU) -> None:
        """Send the message to a class of workers; `Unavailable` if the broker does not take it: the sweep will."""
        try:
            with tracer.start_as_current_span("enqueue", kind=SpanKind.PRODUCER, attributes={"queue": queue}):
                self.celery.send_task(TASK, args=[job_id], task_id=job_id, queue=queue, retry=False)
        except (OperationalError, redis.RedisError, OSError) as error:
            raise _unavailable() from error

    def waiting(self) -> set[str]:
        """The ids of the jobs whose message lies in the broker."""
        try:
            messages: list[Any] = [message for queue in QUEUES for message in self._redis.lrange(queue, 0, -1)]
        except (redis.RedisError, OSError) as error:
            raise _unavailable() from error
        return {json.loads(message)["headers"]["id"] for message in messages}

    def depths(self) -> dict[str, int]:
        """How many messages lie in each queue."""
        try:
            return {queue: int(self._redis.llen(queue)) for queue in QUEUES}
        except (redis.RedisError, OSError) as error:
            raise _unavailable() from error

    def worker_answers(self) -> bool:
        """Whether a worker answers a ping over the broker."""
        try:
            return bool(self.celery.control.ping(timeout=1.0, limit=1))
        except (OperationalError, redis.RedisError, OSError):
            return False

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self.celery.close()


def _unavailable() -> Unavailable:
    return Unavailable(
        "queue_unavailable", "The queue does not answer. What was accepted stays accepted; try again shortly."
    )

"""One trace from a caller's own span over the request and the job to the phases that a worker went through."""

from collections.abc import Iterator

import httpx
import pytest
from feature_files import feature_arrays, write_file
from otlp_receiver import ReceivedSpan, Receiver, receiving
from service_process import wait_for

pytestmark = pytest.mark.timeout(300)
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def test_one_trace_leads_from_the_request_to_the_phases_of_the_computation(start_service, receiver, tmp_path) -> None:
    service = start_service("--workers", "1", COLLAPSE_OTLP_ENDPOINT=receiver.url)
    file = write_file(tmp_path / "f.safetensors", feature_arrays()).read_bytes()
    job = httpx.post(
        f"{service.url()}/v1/analyses",
        content=file,
        headers={"traceparent": f"00-{TRACE}-{CALLER}-01", "X-Request-ID": "mine", "Prefer": "wait=60"},
        timeout=90,
    ).json()
    assert job["status"] == "succeeded"

    def all_there() -> bool:
        return bool(receiver.named("attempt measure_collapse") and receiver.named("POST /v1/analyses"))

    wait_for(all_there, "the spans of API and worker")
    (request,) = receiver.named("POST /v1/analyses")
    (submission,) = receiver.named("job")
    (attempt,) = receiver.named("attempt measure_collapse")
    phases = [span for span in receiver.spans if span.parent_id == attempt.span_id and "db" not in str(span.attributes)]
    assert (request.trace_id, request.parent_id, request.service) == (TRACE, CALLER, "collapse-api")
    assert above(submission, receiver) == [request]
    assert above(attempt, receiver) == [submission, request]
    assert phases
    assert {span.trace_id for span in (submission, attempt, *phases)} == {TRACE}
    assert attempt.service == "collapse-worker"
    assert attempt.attributes["collapse.job_id"] == submission.attributes["collapse.job_id"] == job["id"]
    assert (attempt.attributes["collapse.attempt"], attempt.attributes["collapse.code"]) == (1, "succeeded")
    (broker,) = receiver.named("enqueue")
    assert above(broker, receiver) == [submission, request]
    statements = [span for span in receiver.spans if "db.query.text" in span.attributes]
    assert {"collapse-api", "collapse-worker"} == {span.service for span in statements}
    assert {span.trace_id for span in receiver.spans} == {TRACE}, "what polls makes traces of its own"
    assert f'"trace_id": "{TRACE}"' in service.errors.read_text()


def above(span: ReceivedSpan, receiver: Receiver) -> list[ReceivedSpan]:
    """Its parent, the parent of that, and so on, as far as they were received."""
    parents = [other for other in receiver.spans if other.span_id == span.parent_id]
    return [*parents, *above(parents[0], receiver)] if parents else []

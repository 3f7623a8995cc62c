"""From a request to a queued job: the same way for every kind and every route."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union

from fastapi import Header
from opentelemetry import trace
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from analysis.commands import PUBLIC_KINDS, WHOLE, Command, MeasureCollapse
from api.errors import invalid_field, validation_problem
from api.ids import features_of
from api.lifetimes import Lifetime
from api.services import Services
from jobs.errors import Unavailable
from jobs.routing import placement
from jobs.store import NewJob
from jobs.tables import Features, Job
from jobs.tracing import tracer
from jobs.trail import current_trail

LONGEST_WAIT_SECONDS = 60
LARGEST_INTEGER = 2**63 - 1
PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
LONGEST_RUN_NAME = 255


def _visible_and_no_folder(name: str) -> str:
    if not name.strip():
        raise ValueError("a run cannot be called by blanks alone, which nobody sees: give it a name")
    if name in (".", ".."):
        raise ValueError("a run cannot be called . or .., which browsers take out of addresses: give it a name")
    return name


RunName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST_RUN_NAME, pattern=PRINTABLE),
    AfterValidator(_visible_and_no_folder),
]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=PRINTABLE)]
Step = Annotated[int, Field(ge=0, le=LARGEST_INTEGER), WHOLE]
IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=255, description="makes the request safe to repeat"),
]
Prefer = Annotated[
    str | None,
    Header(max_length=255, description="`wait=N`: answer 200 with the finished job if it ends within N ≤ 60 s"),
]


class Labels(BaseModel):
    """What places a job among others; it changes nothing in what is computed."""

    model_config = ConfigDict(extra="forbid")

    run: RunName | None = Field(default=None, description="name of the training that the features come from")
    step: Step | None = Field(default=None, description="epoch or step of that training")
    tags: Annotated[tuple[Tag, ...], Field(max_length=32)] = ()
    expires_in_seconds: Annotated[Lifetime, WHOLE] | None = Field(
        default=None,
        description="the job is deleted with its report, files and children so long after its submission, once it has "
        "ended; without it, as the service is set",
    )


def _body_of(kind: type[Command]) -> type[Labels]:
    """One request body per kind: its parameters and the labels, side by side."""
    parameters: dict[str, Any] = {name: (field.annotation, field) for name, field in kind.model_fields.items()}
    return create_model(f"{kind.__name__}Job", __base__=Labels, __doc__=kind.__doc__, **parameters)


_BODIES = tuple(_body_of(kind) for kind in PUBLIC_KINDS.values())
# mypy cannot follow a union that is made at run time.
Submission: Any = Annotated[Union[_BODIES], Field(discriminator="kind")]  # noqa: UP007


def command_of(submission: Any) -> Command:
    """The frozen command in a validated body."""
    parameters = submission.model_dump(exclude=set(Labels.model_fields), exclude_unset=True)
    try:
        return PUBLIC_KINDS[submission.kind].model_validate({**parameters, "kind": submission.kind})
    except ValidationError as error:
        raise validation_problem(error) from error


@tracer.start_as_current_span("job")
def submit(
    services: Services,
    owner: str,
    command: Command,
    labels: Labels,
    *,
    idempotency_key: str | None,
    content: str | None = None,
) -> tuple[Job, bool]:
    """Commit the job, then ring the bell; (job, whether it is new).

    `content` stands for the features in the fingerprint of the request, where the request carried them.
    """
    services.queue.require_broker()
    parameters = command.model_dump(mode="json")
    fingerprint = _fingerprint(parameters, labels, content)
    if idempotency_key and (earlier := services.jobs.made_with(idempotency_key, fingerprint, owner=owner)):
        return earlier, False
    features = check_features(services, owner, command)
    outline = services.feature_sets.outline(features) if features else None
    workers = services.workers.present()
    trail = current_trail()

    def place(command: Command) -> dict[str, Any]:
        return placement(command.needs(outline), workers, large_job_bytes=services.settings.large_job_bytes)

    children = [
        NewJob(
            kind=child.kind,
            parameters=child.model_dump(mode="json"),
            run=labels.run,
            tags=labels.tags,
            trail=trail,
            **place(child),
        )
        for child in command.children()
    ]
    job, created = services.jobs.create(
        NewJob(
            owner=owner,
            kind=command.kind,
            parameters=parameters,
            **place(command),
            features_id=features.id if features else None,
            run=labels.run,
            step=labels.step,
            tags=labels.tags,
            expires_in_seconds=labels.expires_in_seconds or services.settings.job_retention_seconds,
            trail=trail,
            children=children,
            idempotency_key=idempotency_key,
            idempotency_fingerprint=fingerprint,
        )
    )
    trace.get_current_span().set_attributes({"collapse.job_id": job.id, "collapse.kind": job.kind})
    if created:
        # A parent waits for its children; whoever ends the last of them sends its message.
        enqueue(services, services.jobs.children(job.id) if children else [job])
    return job, created


def _fingerprint(parameters: Mapping[str, Any], labels: Labels, content: str | None) -> str:
    # What was not there when earlier requests came may not change their fingerprints.
    unset = {"expires_in_seconds"} if labels.expires_in_seconds is None else None
    asked = {
        **labels.model_dump(mode="json", exclude=unset),
        **parameters,
        **({"features": content} if content else {}),
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def enqueue(services: Services, jobs: Sequence[Job]) -> None:
    """Send the messages. The jobs are committed: if the broker is lost just now, the sweep will send the rest."""
    for index, job in enumerate(jobs):
        try:
            services.queue.enqueue(job.id, job.queue)
        except Unavailable:
            services.repair.mark_unsent([job.id for job in jobs[index:]])
            return


def check_features(services: Services, owner: str, command: Command) -> Features | None:
    """The owner's feature set that the command reads, known to be there with the layers asked for."""
    if not isinstance(command, MeasureCollapse):
        return None
    row = features_of(services, owner, command.features)
    known = [layer["name"] for layer in row.layers or []]
    unknown = [name for name in command.layers or () if row.layers is not None and name not in known]
    if unknown:
        raise invalid_field(
            "/layers", f"no layer {', '.join(map(repr, unknown))} in these features; they have: {', '.join(known)}"
        )
    return row


def wait_seconds(prefer: str | None) -> int:
    """`wait=N` of a Prefer header, at most 60; 0 without one. Preferences that are not ours are ignored (RFC 7240)."""
    match = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})", prefer or "")
    return min(int(match[1]), LONGEST_WAIT_SECONDS) if match else 0

"""What can go wrong with a job or a feature set, apart from the mathematics.

JobsError
├── NotFound              job_not_found, features_not_found, report_not_found, artifact_not_found, plot_not_found,
│                         run_not_found, metric_not_found, layer_not_found, key_not_found, file_lost
├── Conflict              job_not_finished, job_already_finished, parent_not_finished, features_in_use,
│                         features_not_ready, part_conflict, parts_missing, key_ambiguous
├── IdempotencyKeyReused  idempotency_key_reused
├── Unavailable           queue_unavailable, database_unavailable, storage_unavailable
├── ClaimLost             storage_unavailable
├── TooLarge              job_too_large
├── QuotaExceeded         quota_exceeded
└── StorageFull           storage_full
"""


class JobsError(Exception):
    """`code` is a stable word for programs, `detail` says to people what is wrong and what to do."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class NotFound(JobsError):
    """There is no such thing, or it is not yours."""


class Conflict(JobsError):
    """The thing is there, but its state forbids what was asked."""


class IdempotencyKeyReused(JobsError):
    """The key came before, with another body."""


class Unavailable(JobsError):
    """The broker, the database or the store of files does not answer."""


class ClaimLost(JobsError):
    """What was put into the store may be gone, for its row came a day too late; trying the same again is of no use."""


class TooLarge(JobsError):
    """No worker has the memory that the job needs."""


class QuotaExceeded(JobsError):
    """The owner would have more than the keys allow; in `retry_after_seconds` that may be otherwise."""

    def __init__(self, code: str, detail: str, *, retry_after_seconds: int) -> None:
        super().__init__(code, detail)
        self.retry_after_seconds = retry_after_seconds


class StorageFull(JobsError):
    """No room is left for features or artifacts."""

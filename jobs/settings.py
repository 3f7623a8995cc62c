"""Settings: read once from the environment (prefix COLLAPSE_) by a composition root, then passed down, frozen."""

import importlib.util
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

GIBIBYTE = 2**30


class Settings(BaseSettings):
    """Everything that an operator can set; `COLLAPSE_<NAME>` in the environment.

    Durations are in seconds, sizes in bytes.
    """

    model_config = SettingsConfigDict(env_prefix="COLLAPSE_", frozen=True, extra="ignore", env_ignore_empty=True)

    data_dir: Path = Path("collapse-data")
    database_url: str | None = None
    """SQLAlchemy URL; without it a SQLite file in the data folder."""
    broker_url: str = "redis://127.0.0.1:6379/0"
    broker_binary: Path | None = None
    """The valkey-server or redis-server that `collapse serve` runs when no broker URL is set; else it looks for one."""
    api_key: SecretStr | None = None
    """The operator's own key, beside those of `collapse keys`: `Authorization: Bearer <key>`."""
    requests_per_minute: int | None = Field(None, ge=1)
    """Of each key that has no limit of its own, and of each address where there are no keys."""
    audit_retention_seconds: float = Field(365 * 86400, gt=0)
    """How long it is known who changed what."""

    max_connections: int = Field(512, ge=1)
    """Connections to one API process; those beyond are answered 503."""
    max_upload_bytes: int = Field(2 * GIBIBYTE, gt=0)
    """Limit of one request body, and of what an archive may inflate to."""
    upload_idle_seconds: float = Field(30.0, gt=0)
    """A sender that sends nothing for so long is dropped."""
    blob_url: str | None = Field(None, pattern=r"^s3://[^/]+(/.*)?$")
    """s3://BUCKET or s3://BUCKET/PREFIX: where files are kept, for processes on several hosts; without it a folder."""
    blob_endpoint: str | None = Field(None, pattern=r"^https?://")
    """Of an S3 server that is not Amazon's; without it and the next three, what AWS_* in the environment says."""
    blob_access_key_id: SecretStr | None = None
    blob_secret_access_key: SecretStr | None = None
    blob_region: str | None = None
    blob_cache_bytes: int = Field(20 * GIBIBYTE, gt=0)
    """Copies of what lies in the bucket, on each host, in its data folder."""
    features_retention_seconds: float = Field(30 * 86400, gt=0)
    """How long a feature set is kept whose upload does not say."""
    open_features_retention_seconds: float = Field(86400, gt=0)
    job_retention_seconds: float | None = Field(None, gt=0)
    """How long after its submission a job is kept whose request does not say; without it, until somebody deletes it."""
    blob_grace_seconds: float = Field(3600, ge=0)
    """How long a file is kept that turns up in the store and that the database knows nothing of."""

    lease_seconds: float = Field(10.0, gt=0)
    """A running job whose lease is not renewed for so long is handed to another worker."""
    cancel_grace_seconds: float = Field(1.5, ge=0)
    """How long a running job may take to notice a cancel before its process is ended."""
    job_time_limit_seconds: float = Field(6 * 3600, gt=0)
    max_attempts: int = Field(3, ge=1)
    sweep_seconds: float = Field(2.0, gt=0)
    resend_after_seconds: float = Field(5.0, gt=0)
    """Age from which a queued job without a message in the broker is sent again."""

    spread_bytes: int = Field(256 * 2**20, ge=0)
    """Size from which the measuring of a feature set in parts is spread over many jobs, for all workers; 0 never."""

    device: str = "auto"
    """Where workers compute: `auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:1` …"""
    worker_name: str | None = None
    """Of this worker among all; without it, its process and host."""
    worker_memory_bytes: int | None = Field(None, gt=0)
    """What one job may need on a worker of this host; without it, four fifths of the memory, shared by the workers."""
    large_job_bytes: int = Field(2 * GIBIBYTE, gt=0)
    """Jobs that need more have a queue of their own, which workers with more memory serve."""
    worker_threads: int = Field(1, ge=1)
    """Threads of torch per worker process; more than one beside a busy core is slower, not faster."""
    worker_max_tasks: int = Field(200, ge=1)
    """A worker's child process is replaced after so many jobs."""

    metrics_dir: Path | None = None
    """Where the processes of this host share their numbers, so that `/metrics` of one tells those of all."""
    worker_metrics_port: int | None = Field(None, ge=1, le=65535)
    """Where a worker tells the numbers of its host, one that runs no API; several workers of a host may share it."""
    worker_metrics_host: str = "127.0.0.1"
    otlp_endpoint: str | None = Field(None, pattern=r"^https?://")
    """Where traces are sent (OTLP over HTTP; `/v1/traces` is appended); without it there are none."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] | None = None
    """`json`: an object a line; `text`: for people. Without it, text where standard error is a terminal."""

    @field_validator("otlp_endpoint")
    @classmethod
    def _exporter_is_there(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not importlib.util.find_spec("opentelemetry.exporter"):
            raise ValueError("traces need more than is installed: pip install 'collapse-service[otel]'")
        return endpoint

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'collapse.db'}"

    @property
    def blob_folder(self) -> Path:
        """Where bodies are received; and where files lie, one per SHA-256, or copies of those in the bucket."""
        return self.data_dir / "blobs"

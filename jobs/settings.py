"""Settings: read once from the environment (prefix COLLAPSE_) by a composition root, then passed down, frozen."""

from pathlib import Path

from pydantic import Field, SecretStr
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
    """When set, every request under /v1 must carry `Authorization: Bearer <key>`."""

    max_connections: int = Field(512, ge=1)
    """Connections to one API process; those beyond are answered 503."""
    max_upload_bytes: int = Field(2 * GIBIBYTE, gt=0)
    """Limit of one request body, and of what an archive may inflate to."""
    upload_idle_seconds: float = Field(30.0, gt=0)
    """A sender that sends nothing for so long is dropped."""
    features_retention_seconds: float = Field(30 * 86400, gt=0)
    open_features_retention_seconds: float = Field(86400, gt=0)
    blob_grace_seconds: float = Field(3600, ge=0)
    """How long an unreferenced blob is kept: longer than any upload takes from its rename to its row."""

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

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'collapse.db'}"

    @property
    def blob_folder(self) -> Path:
        """Where uploaded files lie, one per SHA-256."""
        return self.data_dir / "blobs"

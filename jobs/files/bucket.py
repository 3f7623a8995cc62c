"""Blobs in an S3 bucket, for API and worker processes on several hosts; readers get copies from a local cache."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import S3Store

from jobs.errors import StorageFull, Unavailable
from jobs.files.cache import BlobCache
from jobs.files.staging import StagedFile
from jobs.files.store import FileStore, StoredBlob, lost

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

logger = structlog.get_logger()
KEY = re.compile(r"[0-9a-f]{2}/([0-9a-f]{64})")
PART_BYTES = 8 * 2**20
MOST_PARTS = 9_000  # S3 takes 10 000
PARTS_AT_ONCE = 4
REQUEST_SECONDS = 20
CONNECT_SECONDS = 2
REMOVAL_SECONDS = 3
FULL = re.compile(r"\b507\b|StorageFull|InsufficientStorage|QuotaExceeded|NoSpace")
"""What S3 servers say when there is no room: none of it is standardised."""


class BucketStore(FileStore):
    """Objects `<first two digits>/<digest>` below the URL.

    A request is repeated for `patience_seconds` before the store counts as away. No request is a whole large blob: each
    carries a part of it, with a time limit of its own.
    """

    def __init__(self, folder: Path, *, url: str, config: S3Config, cache_bytes: int, patience_seconds: float) -> None:
        super().__init__(folder)
        self.cache = BlobCache(folder / "cache", limit_bytes=cache_bytes)
        self._store = _connect(url, config, patience_seconds=patience_seconds, request_seconds=REQUEST_SECONDS)
        # Blobs are removed within a transaction that holds a lock: whoever waits for it must not wait for the store.
        self._impatient = _connect(url, config, patience_seconds=0, request_seconds=REMOVAL_SECONDS)

    def keep(self, staged: StagedFile) -> None:
        """Send it in parts; it is there as a whole or not at all."""
        part_bytes = max(PART_BYTES, staged.size_bytes // MOST_PARTS + 1)
        with _trouble_told():
            obstore.put(
                self._store, _key(staged.sha256), staged.path, chunk_size=part_bytes, max_concurrency=PARTS_AT_ONCE
            )

    @contextmanager
    def lend(self, sha256: str) -> Iterator[Path]:
        """A copy in the cache; its digest is checked when it is fetched."""
        with self.cache.lend(sha256, lambda: (self._size(sha256), self.read(sha256))) as path:
            yield path

    def read(self, sha256: str) -> Iterator[bytes]:
        """Get it part by part."""
        size_bytes = self._size(sha256)
        for start in range(0, size_bytes, PART_BYTES):
            with _trouble_told(sha256):
                end = min(start + PART_BYTES, size_bytes)
                part = obstore.get_range(self._store, _key(sha256), start=start, end=end)
            yield bytes(part)

    def _size(self, sha256: str) -> int:
        with _trouble_told(sha256):
            return obstore.head(self._store, _key(sha256))["size"]

    def remove(self, digests: Sequence[str]) -> None:
        """Delete the objects, many in one request, and what this host has copied of them."""
        if digests:
            with _trouble_told():
                obstore.delete(self._impatient, [_key(sha256) for sha256 in digests])
            self.cache.forget(digests)

    def blobs(self) -> Iterator[StoredBlob]:
        """List the bucket; what is there besides blobs is somebody else's."""
        with _trouble_told():
            for page in obstore.list(self._store, chunk_size=1000):
                for entry in page:
                    if match := KEY.fullmatch(entry["path"]):
                        yield StoredBlob(match[1], entry["size"], entry["last_modified"].timestamp())


def _connect(url: str, config: S3Config, *, patience_seconds: float, request_seconds: float) -> S3Store:
    client: ClientConfig = {
        "timeout": timedelta(seconds=request_seconds),
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
    }
    if config.get("endpoint", "").startswith("http:"):
        client["allow_http"] = True
    retry: RetryConfig = {
        "max_retries": 1000 if patience_seconds else 0,
        "retry_timeout": timedelta(seconds=patience_seconds),
        "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2), "base": 2},
    }
    return S3Store.from_url(url, config=config, client_options=client, retry_config=retry)


def _key(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"


@contextmanager
def _trouble_told(sha256: str | None = None) -> Iterator[None]:
    """Turn what obstore raises into our errors; `sha256` is the blob that should be there."""
    try:
        yield
    except (FileNotFoundError, BaseError) as error:
        if "NoSuchBucket" in str(error):
            raise _unavailable(error, "its bucket does not exist") from error
        if isinstance(error, FileNotFoundError):
            raise error if sha256 is None else lost(sha256) from error
        if FULL.search(str(error)):
            raise StorageFull(
                "storage_full", "The object store is full. Nothing was kept; delete feature sets and send again."
            ) from error
        raise _unavailable(error, "it does not answer, or refuses the service's credentials") from error


def _unavailable(error: Exception, why: str) -> Unavailable:
    logger.warning("the object store failed", error=str(error).partition("\n")[0][:500])
    return Unavailable(
        "storage_unavailable", f"The store of files cannot be used: {why}. Nothing was changed; try again shortly."
    )

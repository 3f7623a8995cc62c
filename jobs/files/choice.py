"""Which store the settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.files.folder import FolderStore
from jobs.files.store import FileStore
from jobs.settings import Settings

if TYPE_CHECKING:
    from obstore.store import S3Config

PATIENCE_SECONDS = 3.0
"""For an object store that does not answer, while a client waits."""
PATIENCE_OF_WORKERS_SECONDS = 120.0


def open_file_store(settings: Settings, *, patience_seconds: float = PATIENCE_SECONDS) -> FileStore:
    """The store of blobs: a bucket if one is set, else a folder. Connects to nothing yet."""
    if settings.blob_url is None:
        return FolderStore(settings.blob_folder)
    from jobs.files.bucket import BucketStore  # obstore is 20 MB that a folder does not need

    config: S3Config = {"region": settings.blob_region} if settings.blob_region else {}
    if settings.blob_endpoint:
        config["endpoint"] = settings.blob_endpoint
    if settings.blob_access_key_id and settings.blob_secret_access_key:
        config["access_key_id"] = settings.blob_access_key_id.get_secret_value()
        config["secret_access_key"] = settings.blob_secret_access_key.get_secret_value()
    return BucketStore(
        settings.blob_folder,
        url=settings.blob_url,
        config=config,
        cache_bytes=settings.blob_cache_bytes,
        patience_seconds=patience_seconds,
    )

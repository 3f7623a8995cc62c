"""Blobs: files named by their SHA-256, in a folder or in an object store.

`staging` receives a body, always on the local disk; `folder` and `bucket` are the two stores of what was kept, behind
the one interface of `store`; `cache` holds what a bucket was asked for.
"""

from jobs.files.choice import PATIENCE_OF_WORKERS_SECONDS, open_file_store
from jobs.files.folder import FolderStore
from jobs.files.staging import StagedFile
from jobs.files.store import FileStore, StoredBlob

__all__ = [
    "PATIENCE_OF_WORKERS_SECONDS",
    "FileStore",
    "FolderStore",
    "StagedFile",
    "StoredBlob",
    "open_file_store",
]

"""The lock on the data folder."""

import os
import stat
import subprocess

import pytest

from server.errors import DataFolderInUse, StartRefused
from server.lock import DataFolderLock


def test_folder_is_made_private(tmp_path):
    with DataFolderLock(tmp_path / "a" / "data"):
        assert stat.S_IMODE((tmp_path / "a" / "data").stat().st_mode) == 0o700


def test_holder_is_named(tmp_path):
    with DataFolderLock(tmp_path), pytest.raises(DataFolderInUse, match=rf"{tmp_path} .* process {os.getpid()}"):
        DataFolderLock(tmp_path).__enter__()


def test_lock_is_free_afterwards(tmp_path):
    for _ in range(2):
        with DataFolderLock(tmp_path):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_child_of_a_dead_holder_is_waited_for(tmp_path):
    with DataFolderLock(tmp_path) as lock:
        child = subprocess.Popen(["sleep", "1"], pass_fds=[lock.descriptor])
        gone = subprocess.Popen(["true"])
        gone.wait()
        (tmp_path / "lock").write_text(f"{gone.pid}\n")
    with DataFolderLock(tmp_path, patience_seconds=30):
        assert child.wait() == 0


def test_patience_ends(tmp_path):
    with DataFolderLock(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(DataFolderInUse):
            DataFolderLock(tmp_path, patience_seconds=0.1).__enter__()


def test_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StartRefused, match="Not a directory"):
        DataFolderLock(tmp_path / "file" / "data").__enter__()

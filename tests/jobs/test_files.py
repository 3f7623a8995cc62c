"""The two stores of files: a folder and a real bucket; the cache of the second; a bucket that is away or full."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from object_store import ObjectStore, running_object_store
from service_process import wait_for

from jobs.errors import NotFound, StorageFull, Unavailable
from jobs.files import FileStore, open_file_store
from jobs.files.bucket import PART_BYTES, BucketStore
from jobs.settings import Settings

CONTENTS = {"empty": b"", "small": b"abc", "in parts": os.urandom(PART_BYTES * 2 + 12345)}


@pytest.fixture
def bucket_settings(object_store: ObjectStore, tmp_path: Path) -> Callable[..., Settings]:
    url = object_store.bucket()

    def make(**changes: object) -> Settings:
        return Settings(**{"data_dir": tmp_path, **object_store.settings(url), **changes})

    return make


@pytest.fixture(params=["folder", "bucket"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    if request.param == "folder":
        return open_file_store(Settings(data_dir=tmp_path))
    return open_file_store(request.getfixturevalue("bucket_settings")())


def keep(files: FileStore, content: bytes) -> str:
    with files.stage() as staged:
        staged.write(content)
        staged.finish()
        files.keep(staged)
        return staged.sha256


def test_what_is_kept_is_there_until_it_is_removed(files) -> None:
    kept = {name: keep(files, content) for name, content in CONTENTS.items()}
    assert kept["small"] == keep(files, CONTENTS["small"])  # again
    for name, sha256 in kept.items():
        with files.lend(sha256) as path:
            assert path.read_bytes() == CONTENTS[name]
            assert path.stat().st_mode & 0o777 == 0o400
        assert b"".join(files.read(sha256)) == CONTENTS[name]
    assert {blob.sha256: blob.size_bytes for blob in files.blobs()} == {
        kept[name]: len(content) for name, content in CONTENTS.items()
    }
    assert set(files.untouched(for_seconds=-60)) == set(kept.values())
    assert files.untouched(for_seconds=60) == []
    assert list(files.staging.iterdir()) == []
    files.remove([kept["small"], kept["empty"], "0" * 64])  # the last was never there
    for sha256 in (kept["small"], "0" * 64):
        with pytest.raises(NotFound, match=sha256) as lost, files.lend(sha256):
            pass
        assert lost.value.code == "file_lost"
        with pytest.raises(NotFound, match=sha256):
            b"".join(files.read(sha256))
    assert [blob.sha256 for blob in files.blobs()] == [kept["in parts"]]


# -- the cache -----------------------------------------------------------------------------------------------------


def copies(files: BucketStore) -> set[str]:
    return {path.name for path in files.cache.folder.iterdir()}


def test_the_least_recently_used_copies_go_and_those_in_use_stay(bucket_settings) -> None:
    files = open_file_store(bucket_settings(blob_cache_bytes=3000))
    first, second, third, fourth = (keep(files, os.urandom(1000)) for _ in range(4))
    for age, sha256 in enumerate((first, second, third)):
        with files.lend(sha256) as path:
            os.utime(path, (age, age))
    assert copies(files) == {first, second, third}
    with files.lend(first) as path:  # used again, and in use
        before = path.read_bytes()
        with files.lend(fourth):
            assert copies(files) == {first, third, fourth}
        with files.lend(second), files.lend(third), files.lend(fourth):
            assert copies(files) == {first, second, third, fourth}  # more than the bound: all in use
        assert path.read_bytes() == before
    files.remove([first, second])
    assert copies(files) == {third, fourth}


def test_a_copy_is_fetched_once_by_however_many_want_it(bucket_settings, monkeypatch) -> None:
    settings = bucket_settings()
    sha256 = keep(open_file_store(settings), CONTENTS["in parts"])
    fetched = []
    read = BucketStore.read

    def counted(files: BucketStore, digest: str) -> Iterator[bytes]:
        fetched.append(digest)
        return read(files, digest)

    monkeypatch.setattr(BucketStore, "read", counted)

    def borrow(_: int) -> bytes:
        with open_file_store(settings).lend(sha256) as path:  # as another process has it: with a store of its own
            return path.read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(borrow, range(16))) == {CONTENTS["in parts"]}
    assert fetched == [sha256]


def test_a_copy_that_is_removed_again_and_again_is_always_whole(bucket_settings) -> None:
    """A cache with room for one, and threads that want all: they remove each other's copies all the time."""
    settings = bucket_settings(blob_cache_bytes=1500)
    contents = [os.urandom(1000) for _ in range(4)]
    kept = [keep(open_file_store(settings), content) for content in contents]

    def borrow(number: int) -> bool:
        with open_file_store(settings).lend(kept[number % 4]) as path:
            return path.read_bytes() == contents[number % 4]

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(borrow, range(80)))


def test_what_a_process_left_that_died_while_it_fetched_is_written_over(bucket_settings) -> None:
    files = open_file_store(bucket_settings())
    sha256 = keep(files, b"whole")
    program = "import fcntl, sys, time; f = open(sys.argv[1], 'wb'); fcntl.flock(f, fcntl.LOCK_EX); f.write(b'wh'); "
    partial = files.cache.folder / f"{sha256}.partial"
    process = subprocess.Popen([sys.executable, "-c", program + "f.flush(); time.sleep(60)", str(partial)])
    wait_for(lambda: partial.exists() and partial.stat().st_size, "the beginning of a copy")
    threading.Timer(0.2, process.kill).start()
    with files.lend(sha256) as path:  # waits for the other one, then takes over
        assert path.read_bytes() == b"whole"
    assert process.wait() == -signal.SIGKILL


def test_a_copy_that_does_not_match_its_digest_is_not_lent(bucket_settings) -> None:
    import obstore

    files = open_file_store(bucket_settings())
    sha256 = keep(files, b"right")
    obstore.put(files._store, f"{sha256[:2]}/{sha256}", b"wrong")
    with pytest.raises(NotFound, match=sha256), files.lend(sha256):
        pass
    assert copies(files) == set()


# -- a bucket in trouble -------------------------------------------------------------------------------------------


def test_a_bucket_that_is_away_is_told_and_comes_back(tmp_path) -> None:
    with running_object_store() as server:
        settings = Settings(data_dir=tmp_path, **server.settings(server.bucket()))
        files = open_file_store(settings, patience_seconds=0.5)
        sha256 = keep(files, b"abc")
        gone = open_file_store(settings.model_copy(update={"blob_url": "s3://another"}), patience_seconds=0.5)
        with pytest.raises(Unavailable, match="bucket does not exist"):
            keep(gone, b"abc")
        server.process.send_signal(signal.SIGSTOP)
        threading.Timer(1.0, server.process.send_signal, (signal.SIGCONT,)).start()
        assert b"".join(files.read(sha256)) == b"abc"  # a pause is waited out
    for ask in (lambda: keep(files, b"d"), lambda: files.remove([sha256]), lambda: list(files.blobs())):
        with pytest.raises(Unavailable) as away:
            ask()
        assert away.value.code == "storage_unavailable"
    with pytest.raises(Unavailable), files.lend(sha256):
        pass
    assert list(files.staging.iterdir()) == []


class FullServer(BaseHTTPRequestHandler):
    """Answers as S3 servers do that have no room; the real one here has no limit that could be set."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"<Error><Code>XMinioStorageFull</Code><Message>no room</Message></Error>"
        self.send_response(507)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_bucket_that_is_full_is_told(tmp_path) -> None:
    server = HTTPServer(("127.0.0.1", 0), FullServer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        files = open_file_store(
            Settings(
                data_dir=tmp_path,
                blob_url="s3://bucket",
                blob_endpoint=f"http://127.0.0.1:{server.server_port}",
                blob_access_key_id="a",
                blob_secret_access_key="b",
            ),
            patience_seconds=0.5,
        )
        with pytest.raises(StorageFull):
            keep(files, b"abc")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

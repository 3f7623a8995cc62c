"""`collapse keys` and the address that needs one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from jobs.settings import Settings
from jobs.store import AuditFilter, AuditStore, Database, KeyStore
from server.address import listen
from server.errors import StartRefused


def keys(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m server keys …`; gives the finished process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COLLAPSE_")}
    command = [sys.executable, "-m", "server", "keys", *arguments]
    return subprocess.run(command, env={**environment, **settings}, capture_output=True, text=True, timeout=60)


def key_in(folder: Path, *arguments: str) -> str:
    """A new key of the service in this folder."""
    made = keys("create", "--data-dir", str(folder), *arguments)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


def test_a_key_is_made_shown_once_listed_and_revoked(migrated_url) -> None:
    url = {"COLLAPSE_DATABASE_URL": migrated_url}
    made = keys(
        *("create", "--owner", "lab", "--scopes", "read,admin", "--expires-in", "30", "--note", "for the plots"),
        *("--max-bytes", "1000000", "--max-queued-jobs", "7", "--max-running-jobs", "2", "--requests-per-minute", "60"),
        **url,
    )
    key = made.stdout.strip()
    assert (made.returncode, made.stdout.count("\n")) == (0, 1)
    assert "only time" in made.stderr
    with opened(migrated_url) as database:
        row = KeyStore(database).find(key)
    assert (row.owner, row.scopes, row.note) == ("lab", ["read", "admin"], "for the plots")
    assert (row.max_bytes, row.max_queued_jobs, row.max_running_jobs, row.requests_per_minute) == (1000000, 7, 2, 60)
    assert (row.expires_at - row.created_at).days == 30
    listed = keys("list", **url)
    assert key not in listed.stdout
    for word in (row.id, row.prefix, "lab", "read,admin", "active", "max_running_jobs=2", "for the plots"):
        assert word in listed.stdout
    assert keys("revoke", row.prefix, **url).returncode == 0
    assert keys("revoke", row.id, **url).returncode == 0  # it is what was asked for
    assert "revoked" in keys("list", **url).stdout
    with opened(migrated_url) as database:
        assert KeyStore(database).find(key) is None
        actions = [(entry.action, entry.object_id) for entry in AuditStore(database).list(AuditFilter(), limit=10)]
    assert actions == [("revoke_key", row.id), ("create_key", row.id)]


def test_by_default_a_key_opens_its_own_things_and_reads_and_writes(tmp_path) -> None:
    first, second = key_in(tmp_path), key_in(tmp_path)
    with opened(Settings(data_dir=tmp_path).database) as database:
        one, two = KeyStore(database).find(first), KeyStore(database).find(second)
    assert one.owner != two.owner
    assert one.owner
    assert one.scopes == ["read", "write"]
    assert one.expires_at is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "--scopes", "read,everything"], "'everything' is no scope"),
        (["create", "--expires-in", "0"], "is no number of days"),
        (["create", "--expires-in", "nan"], "is no number of days"),
        (["create", "--max-bytes", "-1"], "give a whole number from 1"),
        (["create", "--owner", "a\nb"], "characters that can be printed"),
        (["revoke", "key_nowhere"], "collapse migrate"),
        (["list"], "of an older version"),
        ([], "COMMAND"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, arguments, message) -> None:
    result = keys(*arguments, COLLAPSE_DATA_DIR=str(tmp_path))
    assert result.returncode in (1, 2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_in_a_fresh_folder_a_key_can_be_made_before_the_service_runs(tmp_path) -> None:
    folder = tmp_path / "fresh" / "data"
    key = key_in(folder)
    with listen("0.0.0.0", 0, Settings(data_dir=folder)):
        pass
    assert "No key has" in keys("revoke", "key_nowhere", "--data-dir", str(folder)).stderr
    assert keys("revoke", key[:16], "--data-dir", str(folder)).returncode == 0
    with pytest.raises(StartRefused, match="collapse keys create"):
        listen("0.0.0.0", 0, Settings(data_dir=folder))


def test_no_database_is_made_by_looking_for_keys(tmp_path) -> None:
    with pytest.raises(StartRefused, match="COLLAPSE_API_KEY"):
        listen("0.0.0.0", 0, Settings(data_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_service_takes_the_key_of_its_folder(start_service, tmp_path) -> None:
    key = key_in(tmp_path / "data")
    service = start_service("--host", "0.0.0.0", "--workers", "1")
    address = service.url()
    assert address.startswith("http://0.0.0.0:")
    url = address.replace("0.0.0.0", "127.0.0.1") + "/v1/jobs"
    assert httpx.get(url).json()["code"] == "unauthorized"
    assert httpx.get(url, headers={"Authorization": f"Bearer {key}"}).json() == {"items": [], "next_cursor": None}

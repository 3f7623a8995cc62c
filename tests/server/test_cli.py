"""The command line: what it accepts, and that it says in words what is wrong."""

import argparse
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from postgres import free_port
from service_process import wait_for
from sqlalchemy import create_engine, inspect

from jobs.settings import Settings
from server.cli import add_commands, service_version
from server.serve import default_folder


@pytest.fixture
def run(tmp_path):
    """Run `python -m server` with settings in the environment."""

    def run(*arguments, **settings):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COLLAPSE_")}
        command = [sys.executable, "-m", "server", *arguments]
        return subprocess.run(command, env={**environment, **settings}, capture_output=True, text=True, timeout=60)

    return run


def test_commands_are_those_of_the_documentation():
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    add_commands(subparsers)
    commands = "serve api worker migrate keys gc doctor backup restore"
    assert list(subparsers.choices) == commands.split()
    arguments = parser.parse_args(["serve"])
    assert (arguments.host, arguments.port, arguments.data_dir, arguments.workers) == ("127.0.0.1", 8000, None, 1)
    assert callable(arguments.handler)


def test_loading_the_commands_is_cheap():
    heavy = ("pydantic", "alembic", "uvicorn", "torch", "celery", "sqlalchemy", "structlog", "jobs")
    script = f"import sys, server.cli; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--port", "65536"], "is no port; give a number from 0 to 65535"),
        (["serve", "--port", "-1"], "is no port"),
        (["serve", "--workers", "0"], "give one from 1 to 64"),
        ([], "COMMAND"),
    ],
)
def test_wrong_arguments_are_refused(run, arguments, message):
    result = run(*arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_wrong_setting_is_named(run):
    result = run("migrate", COLLAPSE_MAX_UPLOAD_BYTES="many")
    assert result.returncode == 2
    assert "COLLAPSE_MAX_UPLOAD_BYTES: " in result.stderr
    assert "Traceback" not in result.stderr


def test_version(run):
    assert run("--version").stdout.strip() == service_version()


@pytest.mark.parametrize("command", ["serve", "api"])
def test_open_address_without_a_key_is_refused(run, command, tmp_path):
    result = run(command, "--host", "0.0.0.0", "--port", "0", COLLAPSE_DATA_DIR=str(tmp_path))
    assert result.returncode == 1
    assert "COLLAPSE_API_KEY" in result.stderr


def test_migrate_upgrades_the_database(run, database_url):
    result = run("migrate", COLLAPSE_DATABASE_URL=database_url)
    assert (result.returncode, result.stderr) == (0, "")
    engine = create_engine(database_url)
    assert "jobs" in inspect(engine).get_table_names()
    engine.dispose()


def test_migrate_makes_the_data_folder(run, tmp_path):
    assert run("migrate", COLLAPSE_DATA_DIR=str(tmp_path / "data")).returncode == 0
    assert (tmp_path / "data" / "collapse.db").is_file()


def test_migrate_to_an_unknown_revision(run, tmp_path):
    result = run("migrate", "--revision", "0999", COLLAPSE_DATA_DIR=str(tmp_path))
    assert result.returncode == 1
    assert "could not be migrated to '0999'" in result.stderr


def test_unreachable_database_is_said_without_the_password(run):
    url = "postgresql+psycopg://user:open%20sesame@127.0.0.1:1/collapse"
    result = run("migrate", COLLAPSE_DATABASE_URL=url)
    assert result.returncode == 1
    assert "postgresql+psycopg://user:***@127.0.0.1:1/collapse could not be migrated" in result.stderr
    assert "Check that the database runs" in result.stderr
    assert "sesame" not in result.stderr
    assert "Traceback" not in result.stderr


def test_nonsense_for_a_database_url(run):
    result = run("migrate", COLLAPSE_DATABASE_URL="nonsense")
    assert result.returncode == 1
    assert "is no SQLAlchemy URL" in result.stderr


def test_default_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_folder(Settings()) == tmp_path / "collapse"
    monkeypatch.setenv("COLLAPSE_DATA_DIR", "elsewhere")
    assert str(default_folder(Settings())) == "elsewhere"


def test_worker_command_becomes_the_worker(tmp_path):
    environment = {**os.environ, "COLLAPSE_DATA_DIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-m", "server", "worker"], env=environment)
    try:
        command_line = Path(f"/proc/{process.pid}/cmdline")
        wait_for(lambda: command_line.read_bytes().split(b"\0")[1:3] == [b"-m", b"worker"], "the worker")
    finally:
        process.kill()
        process.wait()


def test_api_alone_answers_and_bounds_headers(tmp_path):
    port = free_port()
    environment = {**os.environ, "COLLAPSE_DATA_DIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-m", "server", "api", "--port", str(port)], env=environment)
    try:
        assert wait_for(lambda: exchange(port, b"GET /healthz HTTP/1.0\r\n\r\n"), "an answer").startswith(
            b"HTTP/1.1 200"
        )
        endless = b"GET /healthz HTTP/1.0\r\nX-Endless: " + b"x" * 2**20
        assert exchange(port, endless).startswith(b"HTTP/1.1 400")
    finally:
        process.terminate()
        assert process.wait(30) == 0


def exchange(port, request):
    """Send bytes, end the sending, and give the whole answer; nothing while nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(request)
            return connection.recv(65536)
    except ConnectionError:
        return b""

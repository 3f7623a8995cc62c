"""The processes of docker-compose.yml, started by its own commands without Docker, on PostgreSQL and a TCP broker."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest
from feature_files import feature_arrays
from postgres import free_port
from service_process import wait_for
from valkey_server import running_valkey

from collapse_client import Client

KEY = "a key that clients send"


@contextmanager
def running(*command: str, environment: dict[str, str]):
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "server", *command],
        env={**os.environ, **environment},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):  # it has ended, with all that it started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.timeout(240)
def test_migrate_api_and_workers_make_a_service(postgres, tmp_path) -> None:
    with ExitStack() as stack:
        broker, port = free_port(), free_port()
        (tmp_path / "broker").mkdir()
        stack.enter_context(running_valkey(tmp_path / "broker", port=broker))
        environment = {
            "COLLAPSE_DATA_DIR": str(tmp_path / "data"),
            "COLLAPSE_DATABASE_URL": stack.enter_context(postgres.database()),
            "COLLAPSE_BROKER_URL": f"redis://127.0.0.1:{broker}/0",
        }
        with running("migrate", environment=environment) as migration:
            assert migration.wait(60) == 0
        with_key = {**environment, "COLLAPSE_API_KEY": KEY}
        stack.enter_context(running("api", "--host", "0.0.0.0", "--port", str(port), environment=with_key))
        for _ in range(2):
            stack.enter_context(running("worker", environment=environment))
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(url), "readiness", seconds=60)
        assert httpx.get(f"{url}/v1/jobs").status_code == 401
        with Client(url, api_key=KEY) as client:
            finished = client.analyse(feature_arrays(), wait_seconds=60)
            assert finished["status"] == "succeeded"
            assert finished["report"]["num_samples"] == 200


def test_an_address_for_all_without_a_key_is_refused(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "server", "api", "--host", "0.0.0.0", "--port", "0"],
        env={**os.environ, "COLLAPSE_DATA_DIR": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "COLLAPSE_API_KEY" in done.stderr

"""The topology of docker-compose.yml, run by its own commands without Docker, behind its own proxy where nginx is."""

import http.client
import itertools
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from feature_files import feature_arrays
from service_process import wait_for

from collapse_client import Client
from collapse_client.client import LONGEST_HOLD_SECONDS
from deployment import proxy
from deployment.ports import free_port
from deployment.process import Process
from jobs.settings import Settings
from server import asgi

UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "s": 1}
PING_SECONDS = 15.0
"""Between signs of life in a stream of events."""

needs_nginx = pytest.mark.skipif(proxy.find_nginx() is None, reason="there is no nginx: apt-get install nginx-light")
on_the_cluster = pytest.mark.xdist_group("cluster")


@pytest.fixture(scope="session")
def text() -> str:
    """The proxy's configuration, without comments."""
    return re.sub(r"#[^\n]*", "", proxy.CONFIGURATION.read_text())


def directive(text: str, name: str) -> list[str]:
    return re.findall(rf"(?<![\w$]){name}\s+([^;{{]+);", text)


def number(text: str, name: str) -> float:
    [value] = directive(text, name)
    digits, unit = re.fullmatch(r"(\d+)([a-z]?)", value).groups()
    return int(digits) * UNITS[unit]


def test_the_proxy_bounds_what_a_client_may_take(text) -> None:
    settings = Settings()
    assert number(text, "client_max_body_size") >= settings.max_upload_bytes
    assert number(text, "client_max_body_size") <= 1.1 * settings.max_upload_bytes
    assert settings.upload_idle_seconds < number(text, "client_body_timeout") <= 120
    assert 0 < number(text, "client_header_timeout") <= 30
    assert 0 < number(text, "send_timeout") <= 120


def test_the_proxy_waits_longer_than_the_api_holds(text) -> None:
    assert number(text, "proxy_read_timeout") > LONGEST_HOLD_SECONDS + PING_SECONDS
    assert idle_seconds(text) < asgi.IDLE_SECONDS
    assert directive(text, "proxy_request_buffering") == ["off"]
    assert directive(text, "proxy_buffering") == ["off"]
    assert directive(text, "proxy_http_version") == ["1.1"]


def idle_seconds(text: str) -> float:
    [upstream] = re.findall(r"upstream api \{(.*?)\}", text, re.DOTALL)
    return number(upstream, "keepalive_timeout")


def test_the_proxy_fits_what_compose_says_of_it(text, compose, stages) -> None:
    service = compose["services"]["proxy"]
    assert directive(text, "listen") == [service["ports"][0].rpartition(":")[2]]
    [server] = directive(text, "server")
    assert server.split()[:2] == [f"api:{stages['api'].all('EXPOSE')[0]}", "resolve"]  # all replicas, also later ones
    written = [
        directive(text, name)[0]
        for name in ("pid", "client_body_temp_path", "proxy_temp_path", "fastcgi_temp_path", "uwsgi_temp_path")
    ]
    assert all(path.startswith("/tmp/") for path in written)
    assert "/tmp" in service["tmpfs"]
    assert directive(text, "user") == []  # it is not root's to choose


@pytest.fixture
def proxied(cluster, tmp_path):
    """The address of the proxy before the cluster's APIs."""
    ports = [urlsplit(url).port for url in cluster.urls]
    with proxy.running_proxy(tmp_path / "proxy", proxy.find_nginx(), api_ports=ports) as (url, _):
        yield url


def raw_answer(url: str, request: bytes) -> httpx.Response:
    """The answer to a request the rest of whose body does not come."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(request)
        with http.client.HTTPResponse(connection) as answer:
            answer.begin()
            return httpx.Response(answer.status, content=answer.read())


@needs_nginx
@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl to make a certificate with")
def test_tls_is_added_as_the_documentation_says(tmp_path, pytestconfig) -> None:
    [lines] = re.findall(r"```nginx\n(.*?)```", (pytestconfig.rootpath / "docs/deployment.md").read_text(), re.DOTALL)
    text = proxy.CONFIGURATION.read_text().replace("listen 8080;", lines)
    text = proxy.configuration(text, folder=tmp_path, port=free_port(), api_ports=[free_port()])
    port = free_port()
    text = text.replace("/tls/", f"{tmp_path}/").replace("listen 8443", f"listen 127.0.0.1:{port}")
    (tmp_path / "nginx.conf").write_text(text)
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out chain.pem"
    names = ["-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make.split(), *names], cwd=tmp_path, check=True, capture_output=True)
    command = [proxy.find_nginx(), "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-g", "daemon off;"]
    process = Process("proxy", command, {"PATH": os.defpath}, log=tmp_path / "log")
    process.start()
    try:
        wait_for(lambda: (tmp_path / "nginx.pid").exists(), "the start of nginx", seconds=10)
        trusted = ssl.create_default_context(cafile=tmp_path / "chain.pem")
        answer = httpx.get(f"https://127.0.0.1:{port}/metrics", verify=trusted)
        assert answer.status_code == 404  # the proxy's own answer: no API is there
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    finally:
        process.stop()


@needs_nginx
@on_the_cluster
def test_a_user_behind_the_proxy_has_what_the_service_gives(cluster, proxied) -> None:
    assert httpx.get(f"{proxied}/v1/jobs").status_code == 401
    assert httpx.get(f"{proxied}/metrics").status_code == 404
    assert httpx.get(f"{cluster.urls[0]}/metrics").status_code == 200
    with Client(proxied, api_key=cluster.api_key) as client:
        finished = client.analyse(feature_arrays(), wait_seconds=60)
        assert finished["report"]["num_samples"] == 200
        long = client.submit(
            "train_dufm", num_classes=10, depth=3, steps=10_000_000, record_every=10_000, stop_when=None
        )
        events = client.events(long)
        seen = [next(events)["status"] for _ in range(2)]
        assert seen[0] in ("queued", "running")
        client.cancel(long)  # events come as they happen: the job would go on for hours
        assert [event["status"] for event in events][-1] == "cancelled"


@needs_nginx
@on_the_cluster
def test_bodies_pass_the_proxy_as_they_come_up_to_a_limit(cluster, proxied) -> None:
    def head(length: int) -> bytes:
        return (
            f"POST /v1/features HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n"
            f"Authorization: Bearer {cluster.api_key}\r\n\r\n"
        ).encode()

    # The first block says enough: an API that was given the body only when it is whole could not answer yet.
    assert raw_answer(proxied, head(50_000_000) + b"no format at all" * 2**17).status_code == 415
    limit = Settings().max_upload_bytes
    in_words = raw_answer(proxied, head(limit + 1))
    assert (in_words.status_code, in_words.json()["code"]) == (413, "body_too_large")
    at_once = raw_answer(proxied, head(2 * limit))
    assert (at_once.status_code, "nginx" in at_once.text) == (413, True)


@needs_nginx
@on_the_cluster
def test_an_api_that_is_lost_is_passed_over(cluster, proxied) -> None:
    with Client(proxied, api_key=cluster.api_key, retry_seconds=0) as client:
        list(client.jobs(run="none"))  # whichever API that was, its connection is kept
        cluster.apis["api-1"].kill()
        features = [client.upload(feature_arrays(seed=seed)) for seed in range(6)]
        assert [client.features(each["id"])["status"] for each in features] == ["ready"] * 6


def test_make_cluster_says_where_it_is_and_leaves_nothing(tmp_path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir(mode=0o755)
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "deployment.cluster", "--apis", "1", "--workers", "1"],
        env={**os.environ, "TMPDIR": str(scratch)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        lines = list(itertools.takewhile(lambda line: "Ctrl-C" not in line, process.stdout))
        url, key = re.search(r"COLLAPSE_URL=(\S+) COLLAPSE_API_KEY=(\S+)", "".join(lines)).groups()
        assert httpx.get(f"{url}/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        pids = {name: int(pid) for name, pid in re.findall(r"(\S+) +process (\d+),", "".join(lines))}
        assert set(pids) == {"postgres", "valkey", "storage", "api-1", "worker-1"}
        os.kill(pids["api-1"], signal.SIGKILL)
        wait_for(lambda: "api-1 had ended" in process.stdout.readline(), "the restart", seconds=30)
    finally:
        process.send_signal(signal.SIGINT)
        process.stdout.close()
        code = process.wait(60)
    assert code == 0
    assert [name for name, pid in pids.items() if Path(f"/proc/{pid}").exists()] == []
    assert list(scratch.iterdir()) == []


def test_an_address_for_all_without_a_key_is_refused(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "server", "api", "--host", "0.0.0.0", "--port", "0"],
        env={**os.environ, "COLLAPSE_DATA_DIR": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "COLLAPSE_API_KEY" in done.stderr

"""The listening socket: who may reach it, and when what listens there is ready."""

import socket

import pytest
from service_process import wait_for

from jobs.settings import Settings
from server.address import Readiness, listen, url_of
from server.errors import StartRefused


@pytest.fixture
def listener():
    with listen("127.0.0.1", 0, Settings()) as listener:
        yield listener


def answer(listener, text):
    """Answer one waiting request."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(text)


def test_free_port_is_taken_and_named(listener):
    port = listener.getsockname()[1]
    assert port > 0
    assert url_of(listener) == f"http://127.0.0.1:{port}"


def test_connections_send_what_they_have_at_once(listener):
    with socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_open_address_needs_a_key(host):
    with pytest.raises(StartRefused, match="COLLAPSE_API_KEY"):
        listen(host, 0, Settings())


def test_open_address_is_allowed_with_a_key():
    with listen("0.0.0.0", 0, Settings(api_key="secret")) as listener:
        assert url_of(listener).startswith("http://0.0.0.0:")


def test_unknown_address_is_refused():
    with pytest.raises(StartRefused, match="is no address of this machine"):
        listen("256.0.0.1", 0, Settings())


def test_readiness_never_waits_and_asks_until_it_hears_200(listener):
    readiness = Readiness(listener)
    assert not readiness.reached()
    assert not readiness.reached()  # nobody answers yet
    answer(listener, b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
    for _ in range(3):  # hears the 503, asks again, waits
        assert not readiness.reached()
    answer(listener, b"HTTP/1.1 200 OK\r\n\r\n")
    wait_for(readiness.reached, "readiness")


def test_readiness_survives_a_connection_that_breaks(listener):
    readiness = Readiness(listener)
    assert not readiness.reached()
    connection, _ = listener.accept()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()  # with a reset
    for _ in range(2):
        assert not readiness.reached()
    answer(listener, b"HTTP/1.1 200 OK\r\n\r\n")
    wait_for(readiness.reached, "readiness")

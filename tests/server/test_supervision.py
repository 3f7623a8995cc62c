"""`collapse serve` as a process among processes: refusals, deaths, restarts and ends. API and worker are stand-ins."""

import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from postgres import free_port
from service_process import Service, wait_for

StartService = Callable[..., Service]


def no_survivors(service: Service) -> bool:
    return not service.survivors()


def test_says_once_that_it_is_ready_and_ends_in_order(start_stand_ins: StartService, tmp_path: Path) -> None:
    service = start_stand_ins("--workers", "2")
    assert service.get("/readyz") == (200, str(service.child("api")))
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert service.stop() == 0
    assert service.survivors() == []
    assert service.output.read_text().count("\n") == 1
    ends = [line for line in service.errors.read_text().splitlines() if "stand-in ends" in line or "bye bye" in line]
    assert [line.split()[-1] for line in ends] == ["worker", "worker", "api", "bye..."]


def test_ctrl_c_ends_it_as_well(start_stand_ins: StartService) -> None:
    service = start_stand_ins()
    service.url()
    assert service.stop(signal.SIGINT) == 0
    assert service.survivors() == []


def test_second_start_on_the_folder_is_refused(start_stand_ins: StartService) -> None:
    first = start_stand_ins()
    first.url()
    second = start_stand_ins()
    assert second.process.wait(30) == 2
    assert f"is in use by process {first.process.pid}. Stop that one" in second.errors.read_text()
    assert first.process.poll() is None
    assert first.stop() == 0
    assert start_stand_ins().url()


def test_taken_port_is_refused(start_stand_ins: StartService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        service = start_stand_ins("--port", str(port))
        assert service.process.wait(30) == 1
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use. Stop what" in service.errors.read_text()
    assert service.survivors() == []


def test_open_address_without_a_key_is_refused(start_stand_ins: StartService) -> None:
    service = start_stand_ins("--host", "0.0.0.0")
    assert service.process.wait(30) == 1
    assert "set COLLAPSE_API_KEY to a long random secret" in service.errors.read_text()


def test_failed_migration_ends_it(start_stand_ins: StartService) -> None:
    service = start_stand_ins(STAND_IN_MIGRATE="fails")
    assert service.process.wait(30) == 1
    assert "the disk is full; make room" in service.errors.read_text()
    assert "The database could not be migrated" in service.errors.read_text()
    assert service.survivors() == []


def test_it_can_be_ended_during_the_migration(start_stand_ins: StartService) -> None:
    service = start_stand_ins(STAND_IN_MIGRATE="lasts")
    service.child("migrate")
    assert service.stop() == 0
    assert service.survivors() == []


def test_dead_worker_is_replaced_and_leaves_nothing(start_stand_ins: StartService) -> None:
    service = start_stand_ins()
    service.url()
    before = set(wait_for(lambda: len(service.survivors()) == 5 and service.survivors(), "the worker's own child"))
    worker = service.child("worker-1")
    os.kill(worker, signal.SIGKILL)
    assert service.child("worker-1", start=2) != worker
    after = set(wait_for(lambda: len(service.survivors()) == 5 and service.survivors(), "the new worker's child"))
    assert len(before - after) == 2  # the worker and what it had started, in whatever process group
    (ended,) = service.events("child ended")
    assert (ended["child"], ended["exit_code"], ended["restart_in_seconds"]) == ("worker-1", -9, 0.5)


def test_connections_wait_while_the_api_is_restarted(start_stand_ins: StartService) -> None:
    service = start_stand_ins()
    url = service.url()
    os.kill(service.child("api"), signal.SIGKILL)
    wait_for(lambda: service.events("child ended"), "its end")
    status, answered_by = service.get("/")
    assert status == 200
    assert int(answered_by) == service.child("api", start=2)
    assert service.url() == url


def test_crashing_worker_is_tried_ever_more_slowly(start_stand_ins: StartService) -> None:
    service = start_stand_ins(STAND_IN_WORKER="crashes")
    service.child("worker-1", start=3)
    delays = [line["restart_in_seconds"] for line in service.events("child ended")]
    assert delays[:2] == [0.5, 1.0]
    assert {line["exit_code"] for line in service.events("child ended")} == {3}
    assert service.stop() == 0


def test_killed_supervisor_leaves_nothing_and_can_start_again(start_stand_ins: StartService) -> None:
    port = str(free_port())
    service = start_stand_ins("--port", port)
    service.url()
    service.stop(signal.SIGKILL)
    again = start_stand_ins("--port", port)
    assert again.url().endswith(port)
    wait_for(lambda: no_survivors(service), "the end of the children")


def test_stubborn_child_is_killed_after_the_grace_time(start_stand_ins: StartService) -> None:
    service = start_stand_ins(STAND_IN_WORKER="stubborn", STAND_IN_GRACE="0.5")
    service.url()
    assert service.stop() == 0
    assert [line["child"] for line in service.events("child killed")] == ["worker-1"]
    assert service.survivors() == []


def test_second_signal_kills_at_once(start_stand_ins: StartService) -> None:
    service = start_stand_ins(STAND_IN_WORKER="stubborn", STAND_IN_GRACE="600")
    service.url()
    service.process.send_signal(signal.SIGTERM)
    wait_for(lambda: service.events("stopping"), "stopping")
    before = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - before < 5
    assert service.survivors() == []


@pytest.mark.parametrize("folder", ["deep" * 30, "with space"])
def test_any_data_folder_will_do(start_stand_ins: StartService, tmp_path: Path, folder: str) -> None:
    service = start_stand_ins("--data-dir", str(tmp_path / folder))
    service.url()
    assert service.stop() == 0
    assert (tmp_path / folder / "broker" / "appendonlydir").is_dir()

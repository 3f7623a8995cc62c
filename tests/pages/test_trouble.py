"""A key that is needed, a job that fails, a service that goes away and comes back while the page is open."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect
from service_process import Service

from collapse_client import Client

ENDLESS = {"num_classes": 10, "depth": 3, "steps": 10_000_000, "record_every": 10_000, "stop_when": None}
KEY = "a key of this test"


@pytest.mark.network_errors
def test_the_key_is_asked_for_and_a_failure_says_what_to_do(start_service, open_page) -> None:
    service: Service = start_service("--workers", "1", COLLAPSE_API_KEY=KEY, COLLAPSE_JOB_TIME_LIMIT_SECONDS="1.5")
    with Client(service.url(), api_key=KEY) as client:
        job = client.submit("train_dufm", **ENDLESS)["id"]
    page = open_page(service.url(), f"/jobs/{job}")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Key of the service").fill("another")
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog).to_contain_text("does not know this key")
    dialog.get_by_label("Key of the service").fill(KEY)
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(page.locator("#state .badge")).to_have_text("failed")
    error = page.locator(".notice.error")
    with Client(service.url(), api_key=KEY) as client:
        expect(error).to_contain_text(client.job(job)["error"]["detail"])
    page.goto("/optima/10/4")
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    assert '"num_classes":10' in download.value.path().read_text()
    assert page.evaluate("Object.keys(localStorage).length") == 0


@pytest.mark.network_errors
def test_a_button_that_is_refused_says_which_scope_lacks(start_service, open_page, tmp_path) -> None:
    service: Service = start_service("--workers", "1")
    reading, writing = (make_key(tmp_path / "data", "--owner", "lab", "--scopes", scope) for scope in ("read", "write"))
    with Client(service.url(), api_key=writing) as client:
        job = client.submit("train_dufm", **ENDLESS)["id"]
    page = open_page(service.url(), f"/jobs/{job}")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Key of the service").fill(reading)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Cancel the job").click()
    dialog.get_by_role("button", name="Cancel the job").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("scope 'write'")
    alert.get_by_role("button", name="Use another key").click()
    dialog.get_by_label("Key of the service").fill(writing)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Cancel the job").click()
    dialog.get_by_role("button", name="Cancel the job").click()
    expect(page.locator("#state .badge")).to_have_text("cancelled")


def make_key(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "server", "keys", "create", "--data-dir", folder, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.network_errors
def test_a_page_outlives_the_service(service, client, open_page) -> None:
    job = client.submit("train_dufm", **ENDLESS)["id"]
    page = open_page(service.url(), f"/jobs/{job}")
    expect(page.locator("#state .told")).to_contain_text("%")
    os.kill(service.child("api"), signal.SIGKILL)
    expect(page.locator("#away")).to_contain_text("does not answer")
    service.child("api", start=2)
    expect(page.locator("#away")).to_be_empty()
    page.get_by_role("button", name="Cancel the job").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    expect(page.locator("#state .badge")).to_have_text("cancelled")


@pytest.mark.network_errors
def test_what_is_not_there_is_said(service, open_page) -> None:
    page = open_page(service.url(), "/jobs/job_unknown")
    expect(page.get_by_role("alert")).to_contain_text("There is no job 'job_unknown'")
    expect(page.get_by_text("Loading …")).to_have_count(0)
    page.goto("/runs/%2E%2E%2Fnothing")
    expect(page.get_by_role("alert")).to_contain_text("../nothing")

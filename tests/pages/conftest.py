"""A browser, and a service with runs and jobs to look at; no page may show an error or ask for anything elsewhere."""

import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from browsing import HOSTILE, HOSTILE_LAYER, LONG, TRANSLATION, Watched, installed, launch, layers
from feature_files import feature_arrays
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from service_process import Service, running_service

from collapse_client import Client

expect.set_options(timeout=20_000)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "network_errors: the test provokes answers that browsers log as errors")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = installed(playwright)
        if path is None:
            reason = "there is no browser: `make browser` installs one where it may"
            pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
        browser = launch(playwright, path)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Page]]:
    """A factory of pages of a service; at the end, none has shown an error or asked anybody else for anything.

    Tests that provoke errors of the network have the mark `network_errors`.
    """
    contexts: list[BrowserContext] = []
    watched: list[Watched] = []

    def open_(address: str, path: str = "/", **options: object) -> Page:
        options = {"viewport": {"width": 1280, "height": 900}, "base_url": address, **options}
        context = browser.new_context(**options)
        page = context.new_page()
        contexts.append(context)
        watched.append(Watched(address))
        watched[-1].watch(page)
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    provoked = request.node.get_closest_marker("network_errors") is not None
    for one in watched:
        errors = [text for text in one.errors if not (provoked and text.startswith("Failed to load resource"))]
        assert (errors, one.outside, one.dialogs) == ([], [], [])


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("pages") / "data"
    with running_service(folder, "--workers", "1", COLLAPSE_CANCEL_GRACE_SECONDS="100") as service:
        yield service


@pytest.fixture(scope="session")
def client(service: Service) -> Iterator[Client]:
    with Client(service.url()) as client:
        yield client


@pytest.fixture(scope="session")
def runs(client: Client) -> dict[str, str]:
    """Two runs of three steps, one of them sent twice; the ids of the jobs by run and step."""
    sent = {}
    for run, strength in (("first run", 1.0), ("second/run", 0.5)):
        for step in (0, 10, 20):
            sent[f"{run} {step}"] = client.analyse(layers(strength * np.exp(-step / 5)), run=run, step=step)["id"]
    sent["again"] = client.analyse(layers(0.3, seed=1), run="first run", step=10, tags=["repeated"])["id"]
    for job in sent.values():
        client.wait(job, timeout_seconds=60)
    return sent


@pytest.fixture(scope="session")
def hostile(client: Client) -> dict[str, str]:
    """Analyses with names that want to be markup; the ids of the jobs by run."""
    arrays = layers(0.2)
    arrays[f"features.{HOSTILE_LAYER}"] = arrays["features.layer0"]
    arrays[f"features.{'y' * 256}"] = arrays["features.layer1"]
    sent = {HOSTILE: client.analyse(arrays, run=HOSTILE, step=1, tags=[TRANSLATION, "<b>bold</b>"])["id"]}
    sent[LONG] = client.analyse(layers(0.2), run=LONG, step=1)["id"]
    for job in sent.values():
        client.wait(job, timeout_seconds=60)
    return sent


@pytest.fixture(scope="session")
def deep(client: Client) -> str:
    """An analysis of 200 layers."""
    arrays = feature_arrays(num_samples=60, num_classes=4, dims=(6,) * 200)
    return client.wait(client.analyse(arrays, run="deep", step=0)["id"], timeout_seconds=60)["id"]

"""The list and a job: live progress, filters, cancel, delete; by keyboard alone."""

import pytest
from browsing import layers
from playwright.sync_api import Page, expect

ENDLESS = {"num_classes": 10, "depth": 3, "steps": 10_000_000, "record_every": 10_000, "stop_when": None}


@pytest.fixture
def running(client):
    """A job that would take for ever."""
    job = client.submit("train_dufm", **ENDLESS, run="endless", tags=["slow"])["id"]
    yield job
    if any(left["id"] == job for status in ("queued", "running") for left in client.jobs(status=status)):
        client.cancel(job)


def test_a_running_job_is_followed_in_the_list_and_cancelled_on_its_page(service, runs, running, open_page) -> None:
    page = open_page(service.url(), "/catalogue")
    row = page.locator(f"tr[data-id={running}]")
    with page.expect_request(f"**/v1/jobs/{running}/events"):
        page.goto("/")
    expect(row.locator(".badge")).to_have_text("running")
    expect(row.locator(".told")).to_contain_text("%")
    row.get_by_role("link", name="Train DUFM").click()
    bar = page.get_by_role("progressbar", name="progress")
    expect(bar).to_be_visible()
    expect(page.locator("#state .told")).to_contain_text("left")
    page.get_by_role("button", name="Cancel the job").click()
    question = page.get_by_role("dialog")
    question.get_by_role("button", name="Keep as it is").click()
    expect(question).to_have_count(0)
    expect(page.locator("#state .badge")).to_have_text("running")
    page.get_by_role("button", name="Cancel the job").click()
    question.get_by_role("button", name="Cancel the job").click()
    expect(page.locator("#state .badge")).to_have_text("cancelled")
    expect(page.locator("#told")).to_have_text("The job is cancelled.")
    page.get_by_role("button", name="Delete the job").click()
    question.get_by_role("button", name="Delete").click()
    page.wait_for_url(f"{service.url()}/")
    expect(page.locator("#jobs tbody tr").first).to_be_visible()
    expect(page.locator(f"tr[data-id={running}]")).to_have_count(0)


def test_a_new_job_appears_in_the_list_by_itself(service, client, runs, open_page) -> None:
    page = open_page(service.url())
    expect(page.locator("#jobs tbody tr").first).to_be_visible()
    job = client.analyse(layers(0.2), run="late", step=1)["id"]
    row = page.locator(f"tr[data-id={job}]")
    expect(row.locator(".badge")).to_have_text("succeeded")
    expect(page.locator("#runs")).to_contain_text("late")


def test_jobs_are_filtered_and_the_filter_is_in_the_address(service, runs, deep, open_page) -> None:
    page = open_page(service.url())
    jobs = page.locator("#jobs tbody tr")
    expect(jobs.first).to_be_visible()
    page.get_by_label("Tag", exact=True).fill("repeated")
    expect(jobs).to_have_count(1)
    expect(jobs).to_have_attribute("data-id", runs["again"])
    assert page.url.endswith("?tag=repeated")
    page.reload()
    expect(jobs).to_have_count(1)
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Search").fill("SECOND/")
    expect(jobs).to_have_count(3)
    expect(page.locator("#runs tbody th")).to_have_text(["second/run"])
    page.get_by_label("Search").fill(deep)
    expect(jobs).to_have_count(1)
    page.get_by_label("Search").fill("nothing has this name")
    expect(page.locator("#jobs")).to_contain_text("No job is like this")
    page.get_by_label("Search").fill("")
    page.get_by_label("Status").select_option("failed")
    expect(page.locator("#jobs")).to_contain_text("No job is like this")


def test_more_jobs_come_on_demand(service, client, runs, open_page) -> None:
    features = client.upload(layers(0.1))["id"]
    for _ in range(51):
        job = client.submit("measure_collapse", features=features, metrics=["equinorm"], tags=["many"])
    client.wait(job["id"], timeout_seconds=120)
    page = open_page(service.url(), "/?tag=many")
    jobs = page.locator("#jobs tbody tr")
    expect(jobs).to_have_count(50)
    page.get_by_role("button", name="More jobs").click()
    expect(jobs).to_have_count(51)
    expect(page.get_by_role("button", name="More jobs")).to_be_hidden()
    expect(jobs.last.get_by_role("link").first).to_be_focused()


def focus_by_tab(page: Page, name: str, most: int = 60) -> None:
    """Press Tab until an element with this name has the focus, as somebody without a mouse would."""
    for _ in range(most):
        page.keyboard.press("Tab")
        here = page.evaluate("document.activeElement.innerText || document.activeElement.labels?.[0]?.innerText || ''")
        if here.strip().splitlines()[:1] == [name]:
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"the focus on {name!r} is not seen"
            return
    pytest.fail(f"Tab never came to {name!r}")


def test_a_job_is_started_and_cancelled_by_keyboard_alone(service, open_page) -> None:
    page = open_page(service.url())
    expect(page.locator("#jobs[aria-busy]")).to_have_count(0)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("link", name="API", exact=True)).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#fields .field").first).to_be_visible()
    focus_by_tab(page, "steps")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("10000000")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/job_*")
    expect(page.locator("#state .badge")).to_have_text("running")
    focus_by_tab(page, "Cancel the job")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keep as it is")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel the job")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#state .badge")).to_have_text("cancelled")

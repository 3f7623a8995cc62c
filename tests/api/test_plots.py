"""The figures of a report over HTTP: drawn once, kept, told apart."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from feature_files import feature_arrays

import figures
from api.plots import DRAWN_AT_ONCE, Plots, report_drawing, report_figures
from jobs.errors import NotFound

pytestmark = pytest.mark.parametrize("make_database", ["sqlite"], indirect=True)  # which has no part in this

BEGINNINGS = {"svg": b"<svg", "png": b"\x89PNG\r\n", "vega_lite": b"{"}
MEDIA_TYPES = {"svg": "image/svg+xml", "png": "image/png", "vega_lite": "application/json"}


@pytest.fixture
def job(client, file_of, run_jobs) -> str:
    """The address of a job that has ended."""
    location = client.post("/v1/analyses", content=file_of(feature_arrays())).headers["location"]
    run_jobs()
    return location


@pytest.fixture
def drawings(monkeypatch) -> list[str]:
    """What is drawn from now on."""
    drawn: list[str] = []
    for form in ("svg", "png"):
        draw = getattr(figures, form)

        def counted(specification, draw=draw, form=form):
            drawn.append(form)
            return draw(specification)

        monkeypatch.setattr(figures, form, counted)
    return drawn


def test_every_figure_is_listed_and_comes_in_every_form(client, job) -> None:
    listed = client.get(f"{job}/plots").json()
    assert len({plot["name"] for plot in listed}) == len(listed) > 0
    assert all(plot["title"] for plot in listed)
    for number, plot in enumerate(listed):
        for form, beginning in BEGINNINGS.items():
            if form == "png" and number > 3:  # made of the SVG
                continue
            answer = client.get(plot[form])
            assert (answer.status_code, answer.headers["content-type"]) == (200, MEDIA_TYPES[form]), plot
            assert answer.content.lstrip().startswith(beginning)
        assert "vega-lite" in client.get(plot["vega_lite"]).json()["$schema"]


def test_a_figure_is_drawn_once(client, job, drawings) -> None:
    (first, *_) = client.get(f"{job}/plots").json()
    fetched = client.get(first["svg"])
    assert client.get(first["svg"]).content == fetched.content
    unchanged = client.get(first["svg"], headers={"If-None-Match": fetched.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert drawings == ["svg"]
    assert client.get(first["png"]).headers["etag"] != fetched.headers["etag"]
    assert drawings == ["svg", "png"]


def test_the_dark_figure_is_another(client, job) -> None:
    (first, *_) = client.get(f"{job}/plots").json()
    for form in BEGINNINGS:
        light, dark = (client.get(first[form], params={"theme": theme}) for theme in ("light", "dark"))
        assert light.content == client.get(first[form]).content != dark.content
        assert light.headers["etag"] != dark.headers["etag"]
    assert client.get(first["svg"], params={"theme": "pink"}).json()["code"] == "invalid_request"


def test_many_who_ask_at_once_all_get_it(client, job, drawings) -> None:
    (first, *_) = client.get(f"{job}/plots").json()
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: client.get(first["png"]).content, range(12)))
    assert len(set(answers)) == 1
    assert len(drawings) <= DRAWN_AT_ONCE


def test_a_name_that_is_none_is_told_with_those_there_are(client, job) -> None:
    names = [plot["name"] for plot in client.get(f"{job}/plots").json()]
    for form in ("svg", "png", "vl.json"):
        missing = client.get(f"{job}/plots/nothing.{form}")
        assert (missing.status_code, missing.json()["code"]) == (404, "plot_not_found")
        assert all(name in missing.json()["detail"] for name in names)
    assert client.get(f"{job}/plots/{names[0]}.gif").status_code == 404
    assert client.get(f"{job}/plots/%00.svg").json()["code"] == "plot_not_found"


def test_there_is_no_figure_before_the_end(client, file_of) -> None:
    location = client.post("/v1/analyses", content=file_of(feature_arrays())).headers["location"]
    for path in ("plots", "plots/x.svg"):
        assert client.get(f"{location}/{path}").json()["code"] == "job_not_finished"
    client.post(f"{location}/cancel")
    assert client.get(f"{location}/plots").json()["code"] == "report_not_found"


def test_what_is_kept_is_bounded(client, job) -> None:
    report = client.services.jobs.report(job.rpartition("/")[2])
    plots = Plots(kept_bytes=1)

    async def draw_all() -> list[bytes]:
        drawn = [await plots.draw(report_drawing(report, name), "vl.json") for name, _ in report_figures(report)]
        with pytest.raises(NotFound):
            await plots.draw(report_drawing(report, "nothing"), "vl.json")
        return drawn

    # In a thread of its own: where the tests of the pages ran before in this process, their browser keeps a loop here.
    with ThreadPoolExecutor(1) as thread:
        drawn = thread.submit(asyncio.run, draw_all()).result()
    assert list(plots._kept.values()) == drawn[-1:]
    assert all(json.loads(specification) for specification in drawn)

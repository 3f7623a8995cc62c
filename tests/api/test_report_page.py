"""The report as one page: complete, escaped, and in need of nothing else."""

import base64
import itertools
import json
import re
from datetime import datetime
from html.parser import HTMLParser

import numpy as np
import pytest
from feature_files import feature_arrays

pytestmark = pytest.mark.parametrize("make_database", ["sqlite"], indirect=True)  # which has no part in this

HOSTILE = ['<script>alert("x")</script>', "</td></table>", "a & b", "'\"><img src=x onerror=alert(1)>", "{{ 7 * 7 }}"]
NEEDS_NO_END = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """A page taken apart: its elements, words, and addresses; fails where elements are not nested."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements, self.open, self.addresses, self.attributes = [], [], [], []
        self.words: list[str] = []
        self.times: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes) -> None:
        self.elements.append(tag)
        self.attributes += [name for name, _ in attributes]
        self.addresses += [value for name, value in attributes if name in ("href", "src", "xlink:href", "action")]
        self.times += [value for name, value in attributes if name == "datetime"]
        if tag not in NEEDS_NO_END:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes) -> None:
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def finished(client, run_jobs):
    """A factory: submit a job, run it and its children, give its address."""

    def make(**submission) -> str:
        answer = client.post("/v1/jobs", json=submission)
        assert answer.status_code == 202, answer.text
        location = answer.headers["location"]
        for _ in range(20):
            run_jobs()
            if client.get(location).json()["status"] == "succeeded":
                return location
        raise AssertionError(client.get(location).json())

    return make


@pytest.fixture
def analysed(client, file_of, run_jobs):
    """A factory of ended analyses: their address."""

    def make(arrays, **params) -> str:
        location = client.post("/v1/analyses", params=params, content=file_of(arrays)).headers["location"]
        run_jobs()
        return location

    return make


def named_arrays(names, **changes):
    arrays = feature_arrays(dims=[4] * len(names), **changes)
    features = {f"features.{name}": arrays[f"features.layer{index}"] for index, name in enumerate(names)}
    return {"labels": arrays["labels"], **features}


def read(client, location) -> tuple[Page, dict]:
    answer = client.get(f"{location}/report.html")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = Page(answer.text)
    report = client.get(f"{location}/report").json()
    kept = [
        address.partition("base64,")[2] for address in page.addresses if address.startswith("data:application/json")
    ]
    assert [json.loads(base64.b64decode(one)) for one in kept] == [report]
    others = [address for address in page.addresses if not address.startswith(("data:application/json", "#"))]
    assert others == []
    assert not {"script", "iframe", "object", "link", "img", "foreignobject"} & set(page.elements)
    assert not [name for name in page.attributes if name.startswith("on")]
    outside = re.findall(r"(?:url\(|@import)[^#)]{0,40}", re.sub(r"url\(#[^)]*\)", "", answer.text))
    assert outside == []
    return page, report


def test_a_measured_report_says_all_in_words_and_numbers(client, analysed) -> None:
    analysed(feature_arrays(noise=2.0), run="r / 1", step=1)
    page, report = read(client, analysed(feature_arrays(), run="r / 1", step=2, tags="tag1"))
    assert "Run r / 1 , step 2" in page.text
    assert "#tag1" in page.text
    collapsed = report["summary"]["collapsed_layers"]
    assert collapsed == ["layer0", "layer1"]
    assert "All 2 layers have collapsed." in page.text
    assert "Since step 1: collapsed: layer0 and layer1" in page.text
    for layer in report["layers"]:
        for value in layer["metrics"].values():
            assert value is None or f"{value:.4g}" in page.text
        for warning in layer["warnings"]:
            assert warning["detail"].replace(f".{layer['name']}'", ".<layer>'") in page.text
    moment = datetime.fromisoformat(report["created_at"])
    assert f"{moment.day} {moment:%b %Y, %H:%M} UTC" in page.text
    assert page.times == [report["created_at"]]
    assert report["created_at"] not in page.text
    for word in ("balanced", report["environment"]["torch_version"], "0: 50, 1: 50", "tr Σ_W / tr Σ_B"):
        assert word in page.text
    assert page.elements.count("figure") == page.elements.count("svg") >= 4


def test_names_are_words_and_nothing_else(client, analysed) -> None:
    page, report = read(client, analysed(named_arrays(HOSTILE), run=HOSTILE[0], tags=HOSTILE[3][:20]))
    assert {layer["name"] for layer in report["layers"]} == set(HOSTILE)
    for name in HOSTILE:
        assert name in page.words
    assert "49" not in page.words


def test_pictures_do_not_share_ids(client, analysed) -> None:
    html = client.get(f"{analysed(feature_arrays())}/report.html").text
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(ids)


def test_a_picture_is_that_of_the_service_on_a_light_ground_and_on_a_dark_one(client, finished) -> None:
    location = finished(**TRAINING)
    html = client.get(f"{location}/report.html").text
    [picture] = re.findall(r'<figure aria-label="Rank of the class means over training".*?>(.*?)</figure>', html)
    grounds = [re.findall(r"--colour-(\d+): (.*?);", line) for line in re.findall(r":root {(.*--colour-0.*)}", html)]
    assert "var(" in picture
    for theme, colours in zip(("light", "dark"), grounds, strict=True):
        drawn = client.get(f"{location}/plots/ranks-training.svg", params={"theme": theme}).text
        shown = picture
        for number, colour in colours:
            shown = shown.replace(f"var(--colour-{number})", colour)
        assert re.sub(r"figure\d+-", "", shown) == drawn


def test_two_hundred_layers_fit(client, analysed) -> None:
    names = [f"block{index // 10}.conv{index % 10}" for index in range(200)]
    page, report = read(client, analysed(named_arrays(names, num_samples=40)))
    assert len(report["layers"]) == 200
    assert page.elements.count("svg") < 10
    assert {*names} <= {*page.words}
    assert len([word for word in page.words if word.startswith("there is no tensor")]) < 10


def test_a_strongly_regular_graph_is_named(client, analysed) -> None:
    pairs = list(itertools.combinations(range(5), 2))
    means = np.array([[float(vertex in pair) for vertex in range(5)] for pair in pairs])
    labels = np.arange(40) % 10
    noise = 0.01 * np.random.default_rng(0).normal(size=(40, 5))
    page, _ = read(client, analysed({"labels": labels, "features.graph": means[labels] + noise}))
    assert "The class means take the form of a triangular graph T(5) in graph." in page.text
    assert "rank 5 (low); deep neural collapse has 10, the strongly regular graph 5." in page.text


SMALL = {"num_classes": 3, "depth": 2}
TRAINING = {**SMALL, "kind": "train_dufm", "width": 4, "steps": 30}


@pytest.mark.parametrize(
    ("submission", "words"),
    [
        ({**TRAINING, "runs": 2}, ["The best of 2 runs ends at loss", "the loss of deep neural collapse"]),
        ({**TRAINING, "learning_rate": 5000}, ["The run diverged.", "try"]),
        (
            {**SMALL, "kind": "find_dufm_optimum", "restarts": 2, "budget_seconds": 2},
            ["The best solution found has loss"],
        ),
        (
            {"kind": "sweep_dufm", "base": TRAINING, "grid": {"weight_decay": [0.001, 0.004]}, "repeats": 2},
            ["2 cells of weight_decay, 4 jobs: 4 succeeded.", "The least loss is", "base.num classes"],
        ),
        (
            {"kind": "reproduce_figure", "figure": "fig2-top", "scale": 0.0005},
            ["fig2-top, done again at scale 0.0005.", "of 4 statements"],
        ),
    ],
)
def test_every_kind_has_a_page(client, finished, submission, words) -> None:
    page, report = read(client, finished(**submission))
    for word in [*words, "Parameters", "Environment", report["kind"]]:
        assert word in page.text
    assert "figure" in page.elements
    for run in (report["training"] or {"runs": []})["runs"]:
        assert run["loss"] is None or f"{run['loss']:.4g}" in page.text


def test_there_is_no_page_before_the_report(client, file_of) -> None:
    location = client.post("/v1/analyses", content=file_of(feature_arrays())).headers["location"]
    assert client.get(f"{location}/report.html").json()["code"] == "job_not_finished"
    client.post(f"{location}/cancel")
    assert client.get(f"{location}/report.html").json()["code"] == "report_not_found"
    assert client.get("/v1/jobs/nowhere/report.html").json()["code"] == "job_not_found"


def test_what_has_not_changed_is_not_sent_again(client, analysed) -> None:
    location = analysed(feature_arrays())
    fetched = client.get(f"{location}/report.html")
    again = client.get(f"{location}/report.html", headers={"If-None-Match": fetched.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "default-src 'none'" in fetched.headers["content-security-policy"]

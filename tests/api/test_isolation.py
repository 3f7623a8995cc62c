"""Two owners: nobody sees, changes, guesses or deduplicates against another's things, by any route that there is.

The routes are those of the OpenAPI document: one that takes an id and does not look whose it is fails here.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

import pytest
from feature_files import feature_arrays

RUN, TAG, LAYER = "run of the others", "tag-of-the-others", "layer_of_the_others"
OWNED = {"job_id", "features_id", "run"}
NAMES = {"name": ["trajectory.parquet"], "index": ["0"]}
UNKNOWN = {"job_id": "job_" + "0" * 24, "features_id": "features_" + "0" * 24, "run": "unheard-of"}
OF_THE_CATALOGUE = {"num_classes": ["10"], "depth": ["4"]}
TRAINING = {"kind": "train_dufm", "num_classes": 2, "depth": 2, "steps": 20, "record_every": 10}
SWEEP = {"kind": "sweep_dufm", "base": TRAINING, "grid": {"width": [4, 5]}, "run": RUN, "tags": [TAG]}
METHODS = ("get", "post", "put", "delete")


@dataclass
class Things:
    """What somebody has made."""

    headers: dict[str, str]
    jobs: list[str] = field(default_factory=list)
    features: list[str] = field(default_factory=list)

    def words(self) -> list[str]:
        """What nobody else may read, unless they have said it themselves."""
        return [*self.jobs, *self.features, RUN, quote(RUN), TAG, LAYER]


@pytest.fixture
def file(file_of) -> bytes:
    return file_of({name.replace("layer1", LAYER): array for name, array in feature_arrays(num_samples=40).items()})


@pytest.fixture
def make_things(client, run_jobs, file) -> Callable[[dict[str, str]], Things]:
    """Makes one of everything: feature sets, open and ready; jobs of each sort, ended and queued; a run."""

    def make(headers: dict[str, str]) -> Things:
        def post(path: str, **what: object) -> dict:
            response = client.post(path, headers={**headers, "Idempotency-Key": f"the same {path}"}, **what)
            assert response.status_code in (201, 202), response.text
            return response.json()

        things = Things(headers)
        things.features = [post("/v1/features", content=file)["id"], post("/v1/features?parts=open")["id"]]
        client.put(f"/v1/features/{things.features[1]}/parts/0", content=file, headers=headers).raise_for_status()
        analysis = post(f"/v1/analyses?run={RUN}&step=3&tags={TAG}", content=file)
        training = post("/v1/jobs", json={**TRAINING, "run": RUN})
        run_jobs()
        sweep = client.post("/v1/jobs", json=SWEEP, headers=headers).json()
        children = client.get(f"/v1/jobs?parent={sweep['id']}", headers=headers).json()["items"]
        things.jobs = [job["id"] for job in (analysis, training, sweep, *children)]
        assert len(things.jobs) == 5
        return things

    return make


def requests(document: dict, values: dict[str, list[str]]) -> Iterator[tuple[str, str, str, bool]]:
    """Method, template and path of every operation under /v1, with all values; whether it is of something owned."""
    for template, operations in document["paths"].items():
        parameters = parameters_of(template)
        assert set(parameters) <= set(values), f"{template} takes what this test knows nothing of: whose is it?"
        for method in set(METHODS) & set(operations):
            if template.startswith("/v1"):
                for chosen in itertools.product(*(values[name] for name in parameters)):
                    path = template.format(**dict(zip(parameters, map(quote, chosen), strict=True)))
                    yield method, template, path, bool(OWNED.intersection(parameters))


def parameters_of(template: str) -> list[str]:
    """The names in the path."""
    return re.findall(r"{(\w+)}", template)


def queries(operation: dict, values: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    """Each parameter of the query that takes a text, with everything that the others have called something."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query" and '"string"' in json.dumps(parameter["schema"]):
            for value in {"run": [RUN], "tag": [TAG]}.get(parameter["name"], [values["job_id"][2], RUN]):
                yield {parameter["name"]: value}


def told(response, asked: str) -> tuple[int, str, dict]:
    """All that a refusal tells, apart from what was asked for."""
    body = {name: value for name, value in response.json().items() if name != "request_id"}
    return response.status_code, json.dumps(body).replace(asked, "…"), response.headers.get("content-type")


def test_everything_of_others_is_unknown(client, make_key, make_things, file, run_jobs) -> None:
    document = client.get("/openapi.json").json()
    before_keys = make_things({})
    theirs = make_things(make_key()[1])
    mine = make_key()[1]
    client.post("/v1/analyses?run=mine&step=1", content=file, headers=mine).raise_for_status()
    run_jobs()
    kept = seen(client, theirs)
    for others in (before_keys, theirs):
        values = {"job_id": others.jobs, "features_id": others.features, "run": [RUN], **NAMES, **OF_THE_CATALOGUE}
        for method, template, path, owned in requests(document, values):
            # Pictures of the catalogue, which is nobody's, take half a second each.
            unasked = owned or others is before_keys or "/plots/" in template
            asking = [] if unasked else queries(document["paths"][template][method], values)
            for query in [{}, *asking]:
                response = client.request(method, path, params=query, headers=mine)
                content = response.text + str(response.headers)
                said = f"{unquote(path)} {query}"
                leaked = [word for word in others.words() if word in content and word not in said]
                assert not leaked, (method, path, query, response.text)
                assert not owned or response.status_code == 404, (method, path, response.text)
                if query and response.status_code == 200 and "items" in response.json():
                    assert not set(others.jobs) & {item.get("id") for item in response.json()["items"]}
            if owned:
                (name,) = OWNED.intersection(parameters_of(template))
                (asked,) = {value for value in values[name] if quote(value) in path.split("/")}
                never = client.request(method, path.replace(quote(asked), UNKNOWN[name]), headers=mine)
                assert told(response, asked) == told(never, UNKNOWN[name]), (method, path)
    assert seen(client, theirs) == kept


def seen(client, things: Things) -> list:
    """How all that somebody has looks to them."""
    paths = [*(f"/v1/jobs/{job}" for job in things.jobs), *(f"/v1/features/{one}" for one in things.features)]
    return [client.get(path, headers=things.headers).raise_for_status().json() for path in [*paths, "/v1/runs"]]


def test_what_is_named_elsewhere_than_in_the_path_is_unknown_too(client, make_key, make_things, file, run_jobs) -> None:
    theirs, mine = make_things(make_key()[1]), make_key()[1]
    for features in theirs.features:
        response = client.post("/v1/jobs", json={"kind": "measure_collapse", "features": features}, headers=mine)
        assert (response.status_code, response.json()["code"]) == (404, "features_not_found")
    # The same bytes are nobody's secret, but that somebody has sent them before is.
    assert client.post("/v1/features", content=file, headers=mine).status_code == 201
    assert client.post("/v1/features", content=file, headers=mine).status_code == 200
    # Nor is a key of idempotency taken because others have used it.
    answer = client.post(
        "/v1/analyses?run=other", content=file, headers={**mine, "Idempotency-Key": "the same /v1/jobs"}
    )
    assert answer.status_code == 202
    # A run of the same name is another run, with no step before.
    client.post(f"/v1/analyses?run={RUN}&step=4", content=file, headers=mine).raise_for_status()
    run_jobs()
    assert client.get(f"/v1/runs/{RUN}", headers=mine).json()["num_jobs"] == 1
    (job,) = client.get("/v1/jobs", params={"run": RUN}, headers=mine).json()["items"]
    assert job["step"] == 4
    assert client.get(f"/v1/jobs/{job['id']}/report", headers=mine).json()["summary"]["since_previous_step"] is None
    for path in ("series", "plots/class_mean_rank.vl.json"):
        response = client.get(f"/v1/runs/other/{path}", params={"compare": RUN}, headers=mine)
        assert theirs.jobs[0] not in response.raise_for_status().text
    assert client.get("/v1/runs/other/series?compare=nowhere", headers=mine).status_code == 404
    # Deleting one's own leaves the file that others have, too.
    mine_features = client.post("/v1/features", content=file, headers=mine).json()["id"]
    assert client.delete(f"/v1/features/{mine_features}", headers=mine).status_code == 204
    assert client.get(f"/v1/features/{theirs.features[0]}", headers=theirs.headers).json()["status"] == "ready"
    again = client.post(
        "/v1/jobs", json={"kind": "measure_collapse", "features": theirs.features[0]}, headers=theirs.headers
    ).json()
    run_jobs()
    assert client.get(f"/v1/jobs/{again['id']}", headers=theirs.headers).json()["status"] == "succeeded"

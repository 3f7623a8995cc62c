"""The catalogue of optima over HTTP."""

import numpy as np
import pytest
import safetensors.numpy

from analysis.dufm import catalogue

pytestmark = pytest.mark.parametrize("make_database", ["sqlite"], indirect=True)  # which has no part in this


def test_the_list_has_every_entry_and_is_filtered(client) -> None:
    listed = client.get("/v1/optima").json()
    assert len(listed) == len(catalogue.entries()) > 0
    assert [(entry["num_classes"], entry["depth"], entry["decay"]) for entry in listed] == [
        (entry.num_classes, entry.depth, entry.decay) for entry in catalogue.entries()
    ]
    some = client.get("/v1/optima?num_classes=10&decay=0.004").json()
    assert {(entry["num_classes"], entry["decay"]) for entry in some} == {(10, 0.004)}
    assert {entry["depth"] for entry in some} == set(catalogue.DEPTHS)
    assert client.get("/v1/optima?decay=0.5").json() == []
    assert len(client.get("/v1/optima?depth=4&num_classes=10").json()) == len(catalogue.DECAYS)


def test_one_optimum_and_its_matrices(client) -> None:
    entry = client.get("/v1/optima/10/4?decay=0.004").json()
    assert client.get("/v1/optima/10/4").json() == entry
    assert entry["loss"] < entry["references"]["dnc"] == pytest.approx(0.0991799, abs=1e-7)
    assert entry["gap"] == pytest.approx(entry["loss"] - entry["references"]["lower_bound"])
    assert entry["sentences"] == [
        "The best solution known has loss 0.08091; its structure: strongly regular graph.",
        "That is 18 % below the loss of deep neural collapse, 0.09918.",
        "Its last hidden layer has rank 5 before the ReLU, of 10 classes.",
        "No solution can have a loss below 0.02507; the gap is 0.05584.",
        "No small move improves it.",
    ]
    fetched = client.get("/v1/optima/10/4/solution.safetensors?decay=0.004")
    assert fetched.headers["content-disposition"] == 'attachment; filename="K10-L4-0.004.safetensors"'
    solution = safetensors.numpy.load(fetched.content)
    assert set(solution) == {"H_1", "W_1", "W_2", "W_3", "W_4"}
    output = solution["W_1"] @ solution["H_1"]
    for index in (2, 3, 4):
        output = solution[f"W_{index}"] @ np.maximum(output, 0)
    fit = np.square(output - np.eye(10)).sum() / 20
    decay = 0.004 / 2 * sum(np.square(matrix).sum() for matrix in solution.values())
    assert fit + decay == pytest.approx(entry["loss"], rel=1e-9)


def test_the_catalogue_is_drawn(client) -> None:
    base = "/v1/optima/plots/phase-diagram"
    assert b"<svg" in client.get(f"{base}.svg").content
    assert client.get(f"{base}.png?decay=0.004&theme=dark").content.startswith(b"\x89PNG")
    specification = client.get(f"{base}.vl.json?decay=0.016").json()
    (pair,) = specification["vconcat"]
    cells = {(row["column"], row["row"]) for row in pair["hconcat"][0]["data"]["values"]}
    assert cells == {(entry.num_classes, entry.depth) for entry in catalogue.entries() if entry.decay == 0.016}
    first = client.get(f"{base}.svg")
    assert client.get(f"{base}.svg", headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    missing = client.get(f"{base}.svg?decay=0.5")
    assert (missing.status_code, missing.json()["code"]) == (404, "optimum_not_found")
    assert "0.001, 0.004, 0.016" in missing.json()["detail"]
    assert client.get(f"{base}.svg?decay=-1").json()["code"] == "invalid_request"


@pytest.mark.parametrize("path", ["/v1/optima", "/v1/optima/10/4", "/v1/optima/10/4/solution.safetensors"])
def test_what_has_not_changed_is_not_sent_again(client, path) -> None:
    first = client.get(path)
    assert "max-age=" in first.headers["cache-control"]
    again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert client.get(path, headers={"If-None-Match": '"another"'}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/optima/10/99", "/v1/optima/10/4?decay=0.5", "/v1/optima/999/4?decay=0.004"])
@pytest.mark.parametrize("file", ["", "/solution.safetensors"])
def test_what_is_not_there_names_what_is(client, path, file) -> None:
    address, _, query = path.partition("?")
    problem = client.get(f"{address}{file}?{query}")
    assert (problem.status_code, problem.json()["code"]) == (404, "optimum_not_found")
    for word in ("2 to 15", "2 to 7", "0.001, 0.004, 0.016", "find_dufm_optimum"):
        assert word in problem.json()["detail"]

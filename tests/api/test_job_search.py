"""GET /v1/jobs?query=: in the name of the run, in a tag, at the beginning of an id."""

import pytest

PARAMETERS = {"kind": "train_dufm", "num_classes": 4, "depth": 2, "steps": 10}


@pytest.fixture
def ids(client) -> dict[str, str]:
    labels = {
        "run": {"run": "ResNet/100%_a"},
        "tag": {"run": "other", "tags": ["night", "resnet"]},
        "neither": {"run": "vgg"},
    }
    return {name: client.post("/v1/jobs", json={**PARAMETERS, **given}).json()["id"] for name, given in labels.items()}


def found(client, **query) -> set[str]:
    answer = client.get("/v1/jobs", params=query)
    assert answer.status_code == 200
    return {job["id"] for job in answer.json()["items"]}


def test_a_part_of_a_run_or_a_tag_is_found_in_either_case(client, ids) -> None:
    assert found(client, query="RESNET") == {ids["run"], ids["tag"]}
    assert found(client, query="resnet", run="other") == {ids["tag"]}
    assert found(client, query="t/100%_") == {ids["run"]}


def test_the_signs_of_patterns_are_letters(client, ids) -> None:
    assert found(client, query="%") == {ids["run"]}
    assert found(client, query="e_n") == set()


def test_an_id_is_found_by_its_beginning(client, ids) -> None:
    assert found(client, query=ids["neither"][:20]) == {ids["neither"]}
    assert found(client, query=ids["neither"][4:]) == set()


def test_pages_of_what_was_found_follow_one_another(client, ids) -> None:
    first = client.get("/v1/jobs", params={"query": "resnet", "limit": 1}).json()
    rest = client.get("/v1/jobs", params={"query": "resnet", "limit": 1, "cursor": first["next_cursor"]}).json()
    assert [job["id"] for job in first["items"] + rest["items"]] == [ids["tag"], ids["run"]]
    assert rest["next_cursor"] is None

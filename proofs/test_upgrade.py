"""A database of each earlier version comes up: its rows are there and served, its unfinished jobs end."""

import httpx
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from old_rows import OldService, contents, old_service, write_rows
from schema import alembic_config
from service_process import running_service, wait_for

REVISIONS = sorted(
    script.revision for script in ScriptDirectory.from_config(alembic_config("sqlite://")).walk_revisions()
)
KEY = "the operators key"  # where there are keys, nobody comes in without one
SETTINGS = {"COLLAPSE_API_KEY": KEY, "COLLAPSE_SWEEP_SECONDS": "0.3", "COLLAPSE_RESEND_AFTER_SECONDS": "0.5"}


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_database_of_each_version_comes_up_and_goes_down_and_up(
    database_url, tmp_path, lot, figure, revision
) -> None:
    old = old_service(tmp_path / "data", lot)
    tables = write_rows(database_url, revision, old)
    before, columns = contents(database_url)
    config = alembic_config(database_url)
    command.upgrade(config, "head")
    assert contents(database_url, columns)[0] == before
    with running_service(tmp_path / "data", COLLAPSE_DATABASE_URL=database_url, **SETTINGS) as service:
        everything_is_served(service.url(), old, tables)
        assert service.stop() == 0
    after, _ = contents(database_url, columns)
    command.downgrade(config, revision)
    assert contents(database_url, columns)[0] == after
    command.upgrade(config, "head")
    assert contents(database_url, columns)[0] == after
    command.check(config)
    figure("rows", {name: len(rows) for name, rows in after.items()})


def everything_is_served(url: str, old: OldService, tables: set[str]) -> None:
    with httpx.Client(base_url=url, timeout=60, headers={"Authorization": f"Bearer {KEY}"}) as client:
        for features, status in old.features.items():
            assert client.get(f"/v1/features/{features}").json()["status"] == status
        for job, status in old.ended.items():
            assert client.get(f"/v1/jobs/{job}").json()["status"] == status
        for job, body in old.reports.items():
            assert client.get(f"/v1/jobs/{job}/report").text == body
            assert client.get(f"/jobs/{job}").status_code == 200
        assert client.get("/v1/jobs?tag=t").json()["items"][0]["id"] == "job_succeeded"
        series = client.get("/v1/runs/a run/series", params={"metric": "class_mean_rank"})
        assert series.status_code == 200, series.text
        if "artifacts" in tables:
            for (job, name), content in old.artifacts.items():
                assert client.get(f"/v1/jobs/{job}/artifacts/{name}").content == content
        family = {"job_parent", "job_child"} if "artifacts" in tables else set()
        waited_for = [job for job in old.unfinished if job not in ("job_parent", "job_child") or job in family]
        for job in waited_for:
            wait_for(lambda job=job: client.get(f"/v1/jobs/{job}").json()["status"] == "succeeded", job, seconds=60)
        if family:
            parent = wait_for(lambda: ended(client, "job_parent"), "the end of the parent", seconds=60)
            assert parent["status"] in ("succeeded", "failed")
        if "api_keys" in tables:
            assert client.get("/v1/jobs", headers={"Authorization": "Bearer collapse_x"}).status_code == 401


def ended(client: httpx.Client, job: str) -> dict | None:
    view = client.get(f"/v1/jobs/{job}").json()
    return view if view["status"] in ("succeeded", "failed", "cancelled") else None

"""A database as an earlier version of the service has left it: rows in every table, files in the store."""

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from alembic import command
from schema import alembic_config
from sqlalchemy import MetaData, Table, create_engine, insert, select
from work import expected_report, small, sweep, training

from collapse_client.format import describe, open_features
from jobs.descriptions import as_json

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=20)
Row = dict[str, Any]


@dataclass
class OldService:
    """What was in it, by the ids under which it must be found again."""

    features: dict[str, str] = field(default_factory=dict)
    """feature set → status"""
    reports: dict[str, str] = field(default_factory=dict)
    """succeeded job → its report"""
    ended: dict[str, str] = field(default_factory=dict)
    """job → how it had ended"""
    unfinished: list[str] = field(default_factory=list)
    artifacts: dict[tuple[str, str], bytes] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    """table → rows, with the columns of the newest revision"""

    def add(self, table: str, **values: Any) -> None:
        """A row; the columns that a revision does not have are left out when it is written."""
        self.rows.setdefault(table, []).append(values)


def old_service(data: Path, lot: random.Random) -> OldService:
    """Make up everything that a service may have, and put the files in their place."""
    old, work = OldService(), small(lot)
    _add_features(old, data, "features_ready", work.files[0], status="ready")
    _add_features(old, data, "features_open", small(lot).files[0], status="open")
    parameters = {**work.parameters, "features": "features_ready"}
    body = json.dumps({**expected_report(work, data / "scratch" / "0"), "job_id": "job_succeeded"})
    _add_job(old, "job_succeeded", "succeeded", parameters, features_id="features_ready", run="a run", step=3,
             body=body, tags=["t"], idempotency_key="key", idempotency_fingerprint="f" * 64)  # fmt: skip
    for layer in json.loads(body)["layers"]:
        for metric, value in layer["metrics"].items():
            old.add("measurements", job_id="job_succeeded", layer=layer["name"], layer_index=layer["index"],
                    metric=metric, run="a run", step=3, value=value)  # fmt: skip
    _add_job(old, "job_failed", "failed", parameters, error_code="out_of_memory", error_detail="too large")
    _add_job(old, "job_cancelled", "cancelled", parameters, cancel_requested_at=NOW)
    _add_job(old, "job_queued", "queued", parameters, features_id="features_ready")
    _add_job(old, "job_running", "running", parameters, features_id="features_ready", attempts=1, lease_token="gone",
             lease_expires_at=NOW - timedelta(hours=1), phase="spectra", current=1, total=2)  # fmt: skip
    solo = training(lot)
    body = json.dumps({**expected_report(solo, data / "scratch" / "1"), "job_id": "job_training"})
    _add_job(old, "job_training", "succeeded", dict(solo.parameters), body=body)
    _add_artifact(old, data, "job_training", "trajectory.parquet", lot.randbytes(300))
    family = sweep(lot)
    _add_job(old, "job_parent", "running", dict(family.parameters), num_children=1, pending_children=1)
    _add_job(old, "job_child", "queued", {**solo.parameters, "steps": 5}, parent_id="job_parent", child_index=0)
    old.unfinished.remove("job_parent")  # its grid has more cells than this one child: that it ends is enough
    _add_what_runs_the_service(old)
    return old


def _add_features(old: OldService, data: Path, features: str, content: bytes, *, status: str) -> None:
    path = _store(data, content)
    with open_features(path, max_inflated_bytes=2**30) as file:
        description = as_json(describe(file))
    ready = status == "ready"
    sha256 = path.name
    old.add(
        "features", id=features, status=status, sha256=sha256 if ready else None, fingerprint=None,
        layer_order=None, size_bytes=len(content), num_samples=description["num_samples"],
        class_counts=description["class_counts"] if ready else None,
        layers=description["layers"] if ready else None, created_at=NOW, expires_at=LATER,
    )  # fmt: skip
    old.add("features_parts", features_id=features, part_index=0, sha256=sha256, size_bytes=len(content),
            description=description)  # fmt: skip
    old.add("blobs", sha256=sha256, claims=0, claimed_until=NOW)
    old.features[features] = status


def _add_job(
    old: OldService, job: str, status: str, parameters: Mapping[str, Any], *, body: str = "", **more: Any
) -> None:
    tags = more.get("tags", [])
    common = {"kind": parameters["kind"], "parameters": dict(parameters), "tags": tags, "version": 4, "attempts": 0}
    old.add("jobs", **{"id": job, "status": status, "created_at": NOW, "queued_at": NOW, **common, **more})
    for tag in tags:
        old.add("job_tags", job_id=job, tag=tag)
    if body:
        etag = hashlib.sha256(body.encode()).hexdigest()
        old.add("reports", job_id=job, body=body, etag=etag, created_at=NOW)
        old.reports[job] = body
    if status in ("succeeded", "failed", "cancelled"):
        old.ended[job] = status
    else:
        old.unfinished.append(job)


def _add_artifact(old: OldService, data: Path, job: str, name: str, content: bytes) -> None:
    path = _store(data, content)
    old.add("artifacts", job_id=job, name=name, sha256=path.name, size_bytes=len(content),
            media_type="application/octet-stream")  # fmt: skip
    old.artifacts[job, name] = content


def _add_what_runs_the_service(old: OldService) -> None:
    old.add("api_keys", id="key_a", sha256="0" * 64, prefix="collapse_0000000", owner="somebody", scopes=["read"],
            note=None, created_at=NOW, expires_at=None, revoked_at=NOW)  # fmt: skip
    old.add("audit", id="audit_a", at=NOW, owner="", key_id=None, action="submit_job", object_id="job_queued",
            status=202, request_id="r")  # fmt: skip
    old.add("workers", name="worker-gone", device="cpu", queues=["cpu"], memory_bytes=2**30, seen_at=NOW - timedelta(1))


def _store(data: Path, content: bytes) -> Path:
    sha256 = hashlib.sha256(content).hexdigest()
    path = data / "blobs" / sha256[:2] / sha256
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_rows(url: str, revision: str, old: OldService) -> set[str]:
    """Bring an empty database to a revision and put the rows into its tables; the names of these."""
    command.upgrade(alembic_config(url), revision)
    engine = create_engine(url)
    tables = _tables(engine)
    with engine.begin() as connection:
        for name in (table.name for table in _in_order(tables)):
            rows = [row for row in old.rows.get(name, []) if _fits(name, row, tables)]
            for row in rows:
                known = {column: value for column, value in row.items() if column in tables[name].columns}
                connection.execute(insert(tables[name]), [known])
            assert rows, f"table {name} would be empty: give it a row"
    engine.dispose()
    return set(tables)


def _fits(name: str, row: Row, tables: Mapping[str, Table]) -> bool:
    """Families came with the second revision: before, there was neither parent nor child."""
    family = name == "jobs" and (row.get("num_children") or row.get("parent_id"))
    return not family or "parent_id" in tables["jobs"].columns


def contents(url: str, columns: Mapping[str, set[str]] | None = None) -> tuple[dict[str, Any], dict[str, set[str]]]:
    """Every row of every table, or of these columns of these tables, in an order of its own; and the columns."""
    engine = create_engine(url)
    tables = _tables(engine)
    columns = columns or {name: set(table.columns.keys()) for name, table in tables.items()}
    found = {}
    with engine.connect() as connection:
        for name, names in columns.items():
            chosen = [tables[name].columns[column] for column in sorted(names)]
            found[name] = sorted(repr(tuple(row)) for row in connection.execute(select(*chosen)))
    engine.dispose()
    return found, dict(columns)


def _tables(engine: Any) -> dict[str, Table]:
    metadata = MetaData()
    metadata.reflect(engine)
    return {name: table for name, table in metadata.tables.items() if name != "alembic_version"}


def _in_order(tables: Mapping[str, Table]) -> list[Table]:
    metadata = next(iter(tables.values())).metadata
    return [table for table in metadata.sorted_tables if table.name in tables]

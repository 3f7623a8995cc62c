"""Requests made from the OpenAPI document, right and wrong ones, against every address; on both databases."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from service_process import running_service, wait_for
from work import training

from deployment.ports import free_port
from deployment.waiting import answers

EXAMPLES = 25
"""Of each phase and address; schemathesis adds what its coverage phase finds in the schemas."""
LONGEST_SECONDS = 100
"""For one of the two rounds: so much that only a slow machine needs it."""
CHECKS = (
    "not_a_server_error", "negative_data_rejection", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance", "unsupported_method", "allow_header_conformance",
)  # fmt: skip
# Lists in addresses may be too long together for a head, which closes the connection.
SHORT = {"query.layers": "a", "query.metrics": "class_mean_rank", "query.tags": "a", "query.spectra": "features"}
KEY = "a key for this proof"


@pytest.fixture
def api(tmp_path, database_url, broker_url, lot) -> Iterator[tuple[str, str]]:
    """An API without workers, so that nothing of what is submitted runs; and a job that has succeeded before."""
    settings = {"COLLAPSE_DATABASE_URL": database_url, "COLLAPSE_API_KEY": KEY}
    headers = {"Authorization": f"Bearer {KEY}"}
    with running_service(tmp_path / "data", **settings) as service:
        url = service.url()
        job = httpx.post(f"{url}/v1/jobs", json=dict(training(lot).parameters), headers=headers).json()["id"]
        done = httpx.get(f"{url}/v1/jobs/{job}?wait=60", headers=headers, timeout=90).json()
        assert done["status"] == "succeeded"
        service.stop()
    with running_api(tmp_path, COLLAPSE_BROKER_URL=broker_url, **settings) as url:
        yield url, job


@contextmanager
def running_api(folder: Path, **settings: str) -> Iterator[str]:
    """One API process on a free port; its log is kept in the folder."""
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COLLAPSE_")}
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "server", "api", "--port", str(port)],
            env={**inherited, "COLLAPSE_DATA_DIR": str(folder / "data"), **settings},
            stdout=log,
            stderr=log,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: answers(f"{url}/healthz"), "the start of the API")
            yield url
        finally:
            process.kill()
            process.wait()


def test_no_request_that_the_document_allows_or_forbids_breaks_the_service(api, tmp_path, seed, figure) -> None:
    url, job = api
    # The first figure loads what draws figures: seconds, on a machine that has other things to do.
    figures = httpx.get(
        f"{url}/v1/optima/plots/phase-diagram.png", headers={"Authorization": f"Bearer {KEY}"}, timeout=120
    )
    assert figures.status_code == 200
    configuration = tmp_path / "schemathesis.toml"
    for name, parameters, options in (
        # Without workers nothing ends that it submits, so whoever waits for that would wait; and /readyz says 503.
        ("ids that are drawn", SHORT | {"query.wait": "0"}, ["--exclude-path-regex", "/events$|^/readyz$"]),
        (
            "the id of a job that has succeeded",
            {"path.job_id": job},
            ["--include-path-regex", "job_id", "--exclude-method", "DELETE"],
        ),
    ):
        written = "\n".join(f'"{parameter}" = "{value}"' for parameter, value in parameters.items())
        configuration.write_text(f"[parameters]\n{written}\n")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", configuration),
                *("run", f"{url}/openapi.json"),
                *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--no-shrink", "--no-color"),
                *("--max-examples", str(EXAMPLES), "--seed", str(sum(seed.encode()))),
                *("--request-timeout", "60", "--header", f"Authorization: Bearer {KEY}", "--warnings", "off"),
                *("--generation-database", "none", "--max-time", str(LONGEST_SECONDS)),
                *options,
            ],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        figure(name, " ".join(re.findall(r"\d+ (?:generated|passed|failed|skipped|Test cases).*", done.stdout)))
        assert done.returncode == 0, "\n".join(line[:300] for line in done.stdout.splitlines())[-12_000:]
    log = (tmp_path / "api.log").read_text().splitlines()
    lines = [json.loads(line) for line in log if line.startswith("{")]
    answered = Counter(line["status"] for line in lines if line.get("event") == "request")
    figure("answers", dict(sorted(answered.items())))
    assert answered.total() > 2_000
    assert max(status for status in answered if status != 503) < 500
    assert not [line for line in lines if line.get("event") == "unexpected error"]

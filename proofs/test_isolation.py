"""How long a refusal takes tells nothing: what is somebody else's is as quickly unknown as what nobody has."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import httpx
import pytest
from service_process import running_service

REQUESTS = 300
"""Of each kind and address, in an order that is drawn."""
JOBS_OF_THE_RUN = 200
TRAINING = {"kind": "train_dufm", "num_classes": 2, "depth": 2, "steps": 20}
SWEEP = {"kind": "sweep_dufm", "base": TRAINING, "grid": {"width": [4, 5]}, "repeats": JOBS_OF_THE_RUN // 2}
RUN = "resnet18"
ADDRESSES = {
    "a job": ("GET", "/v1/jobs/{job}"),
    "its report": ("GET", "/v1/jobs/{job}/report"),
    "its figures": ("GET", "/v1/jobs/{job}/plots"),
    "its cancel": ("POST", "/v1/jobs/{job}/cancel"),
    "a feature set": ("GET", "/v1/features/{features}"),
    "a run": ("GET", "/v1/runs/{run}"),
    "its series": ("GET", "/v1/runs/{run}/series"),
}


@dataclass(frozen=True)
class Stage:
    """A service with two owners, and the names of what one of them has."""

    url: str
    stranger: dict[str, str]
    theirs: dict[str, str]


@pytest.fixture
def stage(tmp_path: Path, database_url: str) -> Iterator[Stage]:
    settings = {"COLLAPSE_DATABASE_URL": database_url}
    with running_service(tmp_path / "data", "--workers", "1", **settings) as service:
        url = service.url()
        owner, stranger = ({"Authorization": f"Bearer {make_key(database_url)}"} for _ in range(2))
        with httpx.Client(base_url=url, headers=owner, timeout=120) as client:
            features = client.post("/v1/features?parts=open").json()["id"]
            job = client.post("/v1/jobs", json=TRAINING, headers={"Prefer": "wait=60"}).raise_for_status().json()["id"]
            sweep = client.post("/v1/jobs", json={**SWEEP, "run": RUN}).raise_for_status().json()
            client.post(f"/v1/jobs/{sweep['id']}/cancel").raise_for_status()
            assert client.get(f"/v1/runs/{RUN}").json()["num_jobs"] > JOBS_OF_THE_RUN
        yield Stage(url, stranger, {"job": job, "features": features, "run": RUN})


def make_key(database_url: str) -> str:
    command = [sys.executable, "-m", "server", "keys", "create"]
    environment = {"COLLAPSE_DATABASE_URL": database_url}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def test_an_unknown_id_and_that_of_another_take_the_same_time(stage: Stage, lot, figure) -> None:
    nobodys = {"job": "job_" + "0" * 24, "features": "features_" + "0" * 24, "run": RUN[::-1]}
    with httpx.Client(base_url=stage.url, headers=stage.stranger, timeout=60) as client:
        for name, (method, address) in ADDRESSES.items():
            seconds: dict[str, list[float]] = {"unknown": [], "another's": []}
            for kind in lot.sample([*seconds] * REQUESTS, 2 * REQUESTS):
                path = address.format(**(nobodys if kind == "unknown" else stage.theirs))
                began = time.perf_counter()
                response = client.request(method, path)
                seconds[kind].append(time.perf_counter() - began)
                assert response.status_code == 404
            medians = {kind: 1000 * median(taken) for kind, taken in seconds.items()}
            spread = 1000 * min(interquartile_range(taken) for taken in seconds.values())
            told = ", ".join(f"{kind} {value:.3f}" for kind, value in medians.items())
            figure(f"{name}, ms (median of {REQUESTS})", f"{told}, spread {spread:.3f}")
            assert abs(medians["unknown"] - medians["another's"]) < spread, name


def interquartile_range(values: list[float]) -> float:
    lower, _, upper = quantiles(values, n=4)
    return upper - lower

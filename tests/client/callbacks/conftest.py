"""Samples to train on, and what a report of known features must say."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from collapse_client import Client
from collapse_client.reports import Report


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


@pytest.fixture
def reports(client: Client) -> Callable[[dict[int, str]], dict[int, Report]]:
    """The reports of jobs, by step, once they are there."""
    return lambda jobs: {step: client.report(client.wait(job)["id"]) for step, job in jobs.items()}


@pytest.fixture
def trace_ratio() -> Callable[[np.ndarray, np.ndarray], float]:
    """tr Σ_W / tr Σ_B, from its formula."""

    def ratio(features: np.ndarray, labels: np.ndarray) -> float:
        rows = np.asarray(features, np.float64).reshape(len(labels), -1)
        means = np.stack([rows[labels == label].mean(0) for label in np.unique(labels)])
        within = sum(((rows[labels == label] - means[label]) ** 2).sum() for label in np.unique(labels)) / len(rows)
        return float(within / ((means - means.mean(0)) ** 2).sum(1).mean())

    return ratio

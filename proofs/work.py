"""What the clients of a proof ask for, and the report that each must get: computed here, without service or queue."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from feature_files import Arrays, feature_arrays, split
from safetensors.numpy import save
from spread_jobs import Spread

from analysis.commands import KINDS

# What depends on the moment, on the machine or on ids that are drawn.
VARYING = {"job_id", "created_at", "timings", "run", "step", "seconds", "environment", "jobs"}
RELATIVE = 1e-9


@dataclass(frozen=True)
class Work:
    """One job to submit: the files of its features, if it has any, and the parameters besides."""

    files: tuple[bytes, ...]
    parameters: Mapping[str, Any]


def small(lot: random.Random) -> Work:
    """Features of a few kilobytes, like no others."""
    return _measuring(feature_arrays(seed=lot.getrandbits(32)))


def in_parts(lot: random.Random) -> Work:
    """A set in four parts, which the service measures by children."""
    arrays = feature_arrays(num_samples=400, seed=lot.getrandbits(32))
    return _measuring(*split(arrays, [100, 200, 300]))


def wide(lot: random.Random) -> Work:
    """A second or two of computing, in many short steps."""
    arrays = {"labels": np.arange(2_000) % 4}
    arrays["features.wide"] = np.random.default_rng(lot.getrandbits(32)).normal(size=(2_000, 1_300)).astype(np.float16)
    return _measuring(arrays, spectra=["features"])


def bulk(lot: random.Random) -> bytes:
    """A file of some megabytes like no other, for no job."""
    template = bytearray(_bulk_template())
    template[-2:] = lot.randrange(0x7C00).to_bytes(2, "little")  # a finite float16
    template[-4:-2] = lot.randrange(0x7C00).to_bytes(2, "little")
    return bytes(template)


@cache
def _bulk_template() -> bytes:
    features = np.random.default_rng(0).normal(size=(1_000, 1_500)).astype(np.float16)
    return save({"labels": np.arange(1_000, dtype=np.int64) % 4, "features.bulk": features})


def training(lot: random.Random) -> Work:
    """A job that leaves artifacts."""
    return Work((), {**SHORT_TRAINING, "seed": lot.randrange(20)})


def sweep(lot: random.Random) -> Work:
    """A parent with four children."""
    base = {**SHORT_TRAINING, "seed": lot.randrange(5)}
    return Work((), {"kind": "sweep_dufm", "base": base, "grid": {"weight_decay": [0.001, 0.01]}, "repeats": 2})


SHORT_TRAINING = {"kind": "train_dufm", "num_classes": 3, "depth": 3, "width": 4, "steps": 800}
MIXTURE: tuple[tuple[Callable[[random.Random], Work], int], ...] = (
    (small, 6), (in_parts, 3), (wide, 4), (training, 5), (sweep, 2)
)  # fmt: skip


def draw(lot: random.Random) -> Work:
    """One of them, by lot."""
    makers, weights = zip(*MIXTURE, strict=True)
    return lot.choices(makers, weights)[0](lot)


def _measuring(*parts: Arrays, **parameters: Any) -> Work:
    return Work(tuple(save(part) for part in parts), {"kind": "measure_collapse", **parameters})


def expected_report(work: Work, folder: Path) -> Any:
    """The report of the command, run here in one piece: no workers, no children's jobs, no database."""
    folder.mkdir(parents=True)
    paths = []
    for index, content in enumerate(work.files):
        paths.append(folder / f"{index}.safetensors")
        paths[-1].write_bytes(content)
    surroundings = Spread(folder / "parts", paths, spread_bytes=None)
    parameters = {**work.parameters, **({"features": "here"} if work.files else {})}
    command = KINDS[str(work.parameters["kind"])].model_validate(parameters)
    for child in command.children():
        surroundings._run_child(child)
    report = surroundings.report_of(command)
    return json.loads(report.model_dump_json())


def differences(found: Any, expected: Any, place: str = "") -> list[str]:
    """Where two reports differ, by more than the rounding of sums in another order."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if set(found) != set(expected):
            return [f"{place}: {sorted(set(found) ^ set(expected))}"]
        inner = [name for name in expected if name not in VARYING]
        return [line for name in inner for line in differences(found[name], expected[name], f"{place}/{name}")]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(found, expected, strict=True))
        return [line for index, pair in pairs for line in differences(*pair, f"{place}/{index}")]
    if isinstance(expected, float) and isinstance(found, int | float):
        close = np.isclose(found, expected, rtol=RELATIVE, atol=RELATIVE)
        return [] if close else [f"{place}: {found} is not {expected}"]
    return [] if found == expected else [f"{place}: {found} is not {expected}"]

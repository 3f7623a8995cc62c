"""Broken feature files, hundreds of thousands: refused in words, in bounded memory, by a service that goes on."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
from clients import at_once
from mutants import mutant, valid_files
from service_process import running_service

FILES = 200_000
FILES_OVER_HTTP = 3_000
SENDERS = 4
MEMORY_BYTES = 256 * 2**20
API_MEMORY_BYTES = 300 * 2**20
HERE = Path(__file__).parent


def test_the_parsers_refuse_every_broken_file_with_their_own_error(tmp_path, seed, figure) -> None:
    """A process of its own: it has a bound on its memory, and whatever else the parsers raise ends it."""
    places = [HERE, HERE.parent / "tests", HERE.parent / "client", HERE.parent]
    done = subprocess.run(
        [sys.executable, HERE / "fuzz_feature_files.py", str(FILES), str(sum(seed.encode())), tmp_path / "fuzz"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    figure("files", told["files"])
    figure("outcomes", told["outcomes"])
    figure("peak of memory, MiB", told["peak_bytes"] / 2**20)
    assert told["files"] >= FILES
    assert set(told["outcomes"]) == {"taken", "unsafe_file", "invalid_features", "unsupported_format"}
    assert told["peak_bytes"] < MEMORY_BYTES


def test_the_service_refuses_every_broken_file_in_words(tmp_path, lot, figure) -> None:
    mutants = [mutant(lot.choice(valid_files()), lot) for _ in range(FILES_OVER_HTTP)]
    with running_service(tmp_path / "data", "--workers", "1") as service:
        url, api = service.url(), service.child("api")

        def send(number: int) -> Counter[tuple[int, str]]:
            outcomes: Counter[tuple[int, str]] = Counter()
            with httpx.Client(base_url=url, timeout=60) as client:
                for content in mutants[number::SENDERS]:
                    answer = client.post("/v1/features", content=content)
                    code = answer.json().get("code", "taken")
                    assert "detail" in answer.json() or answer.status_code in (200, 201)
                    outcomes[answer.status_code, code] += 1
            return outcomes

        results = at_once(SENDERS, send)
        assert not [error for error in results if isinstance(error, Exception)], results
        outcomes = sum(results, Counter())
        figure("answers", {f"{status} {code}": number for (status, code), number in outcomes.items()})
        assert outcomes.total() == FILES_OVER_HTTP
        assert {status for status, _ in outcomes} == {200, 201, 415, 422}
        peak = peak_bytes(api)
        figure("peak of the API's memory, MiB", peak / 2**20)
        assert peak < API_MEMORY_BYTES
        assert service.child("api") == api  # it never fell over
        assert service.get("/readyz")[0] == 200


def peak_bytes(process_id: int) -> int:
    """The most memory that a process has had so far."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024

"""Full disks: under the whole service, under the broker's append-only file, under PostgreSQL.

Whatever is answered while there is no room is 2xx, 503 or 507; what was accepted is there, and ends, once there is.
"""

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from feature_files import feature_arrays, write_file
from killable_postgres import KillablePostgres
from postgres import identity
from service_process import Service, running_service, wait_for
from small_disk import SmallDisk, small_disk
from valkey_server import running_valkey

KIBIBYTE = 1024
LEFT_BYTES = (0, 0, 64 * KIBIBYTE, 512 * KIBIBYTE)
"""What a disk may have left when it is as good as full."""
QUICK = {"COLLAPSE_SWEEP_SECONDS": "0.5", "COLLAPSE_RESEND_AFTER_SECONDS": "1", "COLLAPSE_LEASE_SECONDS": "5"}


class Client:
    """Uploads and submits, and remembers what it was told."""

    def __init__(self, url: str, folder: Path) -> None:
        self._http = httpx.Client(base_url=url, timeout=60)
        self._folder, self._seed = folder, 0
        self.answers: Counter[str] = Counter()
        self.features: dict[str, int] = {}
        self.jobs: list[str] = []

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def upload(self, *, num_samples: int = 60) -> int:
        """A file that nobody has sent yet; the status of the answer."""
        self._seed += 1
        arrays = feature_arrays(num_samples=num_samples, seed=self._seed)
        answer = self._post("/v1/features", content=write_file(self._folder / "f.safetensors", arrays).read_bytes())
        if answer.status_code == 201:
            self.features[answer.json()["id"]] = num_samples
        return answer.status_code

    def submit(self) -> int:
        """A job on the first set; the status of the answer."""
        body = {"kind": "measure_collapse", "features": next(iter(self.features)), "tags": ["x" * 60] * 20}
        answer = self._post("/v1/jobs", json=body)
        if answer.status_code == 202:
            self.jobs.append(answer.json()["id"])
        return answer.status_code

    def _post(self, path: str, **body: object) -> httpx.Response:
        answer = self._http.post(path, **body)  # type: ignore[arg-type]
        code = "" if answer.is_success else f" {answer.json()['code']}"
        self.answers[f"{answer.status_code}{code}"] += 1
        assert answer.status_code in (200, 201, 202, 503, 507), answer.text
        assert answer.status_code != 503 or "retry-after" in answer.headers
        return answer

    def require_all(self) -> None:
        """Every accepted set is there, and every accepted job succeeds."""
        for features_id, num_samples in self.features.items():
            view = self._http.get(f"/v1/features/{features_id}").json()
            assert (view["status"], view["num_samples"]) == ("ready", num_samples)
        for job_id in self.jobs:
            wait_for(lambda job_id=job_id: self._ended(job_id), f"the end of {job_id}", seconds=120)
            report = self._http.get(f"/v1/jobs/{job_id}/report").json()
            assert report["job_id"] == job_id

    def _ended(self, job_id: str) -> bool:
        answer = self._http.get(f"/v1/jobs/{job_id}")
        if answer.status_code != 200 or answer.json()["status"] not in ("succeeded", "failed", "cancelled"):
            return False
        assert answer.json()["status"] == "succeeded", answer.json()
        return True


@contextmanager
def service_and_client(folder: Path, scratch: Path, **settings: str) -> Iterator[tuple[Service, Client]]:
    with running_service(folder, **QUICK, **settings) as service, Client(service.url(), scratch) as client:
        assert client.upload() == 201
        assert client.submit() == 202
        client.require_all()
        yield service, client


def try_while_full(disk: SmallDisk, client: Client, lot, figure: Callable[..., None], *, rounds: int) -> None:
    for _ in range(rounds):
        disk.fill(leave_bytes=lot.choice(LEFT_BYTES))
        for _ in range(15):
            client.submit()
            client.upload(num_samples=lot.choice((40, 2_000, 20_000)))
        disk.make_room()
        freed = time.monotonic()
        wait_for(lambda: client.submit() == 202, "room for jobs", seconds=60)
        wait_for(lambda: client.upload() == 201, "room for files", seconds=60)
        figure("seconds until it goes on", time.monotonic() - freed)
    client.require_all()
    for answer, number in sorted(client.answers.items()):
        figure(answer, number)


def examine(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "server", "doctor", "--content", "--data-dir", str(folder)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_one_disk_for_everything(tmp_path, lot, figure) -> None:
    with small_disk(tmp_path / "disk", megabytes=64) as disk:
        (disk.folder / "data").mkdir()
        folder = tmp_path / "data"  # beside it lies the log, which has room
        folder.symlink_to(disk.folder / "data")
        with service_and_client(folder, tmp_path) as (_, client):
            try_while_full(disk, client, lot, figure, rounds=4)
            assert any(answer.startswith("507") for answer in client.answers)
            assert any(answer.startswith("503") for answer in client.answers)
            wait_for(lambda: not list((folder / "blobs" / "staging").iterdir()), "an empty staging folder")
            figure("doctor", examine(folder))


def test_the_disk_of_the_append_only_file(tmp_path, lot, figure) -> None:
    with (
        small_disk(tmp_path / "disk", megabytes=4) as disk,
        running_valkey(disk.folder) as (url, _),
        service_and_client(tmp_path / "data", tmp_path, COLLAPSE_BROKER_URL=url) as (_, client),
    ):
        try_while_full(disk, client, lot, figure, rounds=3)
        figure("doctor", examine(tmp_path / "data"))


def test_the_disk_of_postgresql(tmp_path, lot, figure) -> None:
    with ExitStack() as stack:
        # `nobody` must be able to enter, where root runs the tests.
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp" if identity() else None)))
        scratch.chmod(0o755)
        disk = stack.enter_context(small_disk(scratch / "disk", megabytes=400))
        server = KillablePostgres(disk.folder)
        stack.callback(server.kill)
        server.start()
        server.wait_until_ready()
        settings = {"COLLAPSE_DATABASE_URL": server.url}
        _, client = stack.enter_context(service_and_client(tmp_path / "data", tmp_path, **settings))

        def revive() -> None:
            """PostgreSQL ends itself when it cannot write its log; who runs it starts it again."""
            if not server.answers():
                server.kill()
                server.start()
                server.wait_until_ready()

        for _ in range(2):
            disk.fill()
            for _ in range(60):
                client.submit()
            disk.make_room()
            revive()
            wait_for(lambda: client.submit() == 202, "room for jobs", seconds=60)
        client.require_all()
        assert any(answer.startswith("503") for answer in client.answers)
        for answer, number in sorted(client.answers.items()):
            figure(answer, number)

"""Train a network on digits and watch, through the running service, how its features collapse and lose rank.

`make demo` runs this. Everything it makes lies in build/demo: the service's data and log, the feature files as they
were posted, and the JSON report of the last epoch.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import signal
import sys
import time
from pathlib import Path

from bar import Bar
from digits import Snapshot, train
from service import Service, running_service
from table import Report, print_table, summarize

from collapse_client import Client, CollapseError, write_features
from collapse_client.views import JobView

FOLDER = Path(__file__).resolve().parents[1] / "build" / "demo"
RECORDED_SHARES = (0, 0.02, 0.06, 0.2, 0.5, 1)


def main() -> int:
    """Run the service, train, post, wait, tell."""
    arguments = parse_arguments()
    folder: Path = arguments.folder
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # and the service is stopped on the way out
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # each line when it is true, also into a pipe
    try:
        with running_service(folder / "service", log=folder / "service.log", keep=arguments.keep) as service:
            print(f"The service answers at {service.url}")
            with Client(service.url) as client:
                demonstrate(client, service, folder, epochs=arguments.epochs)
            if arguments.keep:
                print(f"It stays up (process {service.pid}) until the next demo, or until: kill {service.pid}")
    except CollapseError as error:
        print(f"{error}\nThe log of the service is {folder / 'service.log'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave the service running")
    parser.add_argument("--epochs", type=positive, default=500, help="how long to train (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="what is made goes here (default: %(default)s)")
    return parser.parse_args()


def positive(text: str) -> int:
    """Read a number of epochs."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of epochs; give one from 1")
    return int(text)


def demonstrate(client: Client, service: Service, folder: Path, *, epochs: int) -> None:
    """Post the features of chosen epochs as one run, wait for the reports, and say what they show."""
    run = f"digits-{time.strftime('%Y%m%d-%H%M%S')}"
    jobs = train_and_post(client, folder / "features", run=run, epochs=epochs)
    wait_for_all(client, jobs)
    first, last = client.report(jobs[0]), client.report(jobs[-1])
    print()
    print_table(first, last)
    print()
    print("\n".join(summarize(first, last)))
    print()
    tell_where_it_lies(last, service, folder)


def train_and_post(client: Client, folder: Path, *, run: str, epochs: int) -> list[str]:
    """Train; write and post the features of the chosen epochs on the way; return the jobs' ids."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    jobs = []
    with Bar() as bar:

        def show(epoch: int) -> None:
            bar.show(epoch / epochs, f"training: epoch {epoch}")

        record_at = {round(share * epochs) for share in RECORDED_SHARES}
        for snapshot in train(epochs=epochs, record_at=record_at, on_epoch=show):
            bar.clear()
            jobs.append(post(client, snapshot, folder, run=run))
    return jobs


def post(client: Client, snapshot: Snapshot, folder: Path, *, run: str) -> str:
    """Write one epoch's features of every layer to a file, send it, and return the id of its job."""
    path = folder / f"epoch-{snapshot.epoch:04}.safetensors"
    write_features(path, labels=snapshot.labels, features=snapshot.features, weights=snapshot.weights)
    job = client.analyse(path, run=run, step=snapshot.epoch)
    print(f"epoch {snapshot.epoch:4}: training accuracy {snapshot.accuracy:7.2%}, posted as job {job['id']}")
    return job["id"]


def wait_for_all(client: Client, jobs: list[str]) -> None:
    """Follow the jobs until every one has its report."""
    with Bar() as bar:
        for number, job_id in enumerate(jobs, 1):

            def show(job: JobView, number: int = number) -> None:
                done = number - 1 + job["progress"]["fraction"]
                bar.show(
                    done / len(jobs), f"report {number} of {len(jobs)}: {job['progress']['phase'] or job['status']}"
                )

            client.wait(job_id, on_progress=show)


def tell_where_it_lies(last: Report, service: Service, folder: Path) -> None:
    """Keep the last report as a file; print where it and the features are."""
    report = folder / "report.json"
    report.write_text(json.dumps(last, indent=2, ensure_ascii=False) + "\n")
    print(f"Report of the last epoch: {service.url}/v1/jobs/{last['job_id']}/report")
    print(f"The same as a file:       {report}")
    print(f"The features as posted:   {folder / 'features'}")


if __name__ == "__main__":
    sys.exit(main())

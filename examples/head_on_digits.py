"""A real network's deep head against the theory's losses, through the running service: `make head-on-digits`.

Trains networks whose last layers are the deep unconstrained features model, on scikit-learn's digits; asks the service
for the losses of deep neural collapse and of the strongly regular graph at these decays, and for the collapse of every
layer over training. Everything it makes lies in build/head-on-digits: three panels as SVG and PNG, and the reports.
The counterpart of figure 2, bottom, in Súkeník, Lampert, Mondelli 2024 (arXiv 2405.14468), which has CIFAR-10.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import head_network
from bar import Bar
from head_network import Look, train
from head_panels import draw
from service import running_service

from collapse_client import Client, CollapseError
from collapse_client.views import JobView

FOLDER = Path(__file__).resolve().parents[1] / "build" / "head-on-digits"
MEASURED_SHARES = (0, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.75, 1)
LOSSES = 100
"""How often the loss is looked at."""
Report = dict[str, Any]


def main() -> int:
    """Run the service, train, ask, draw."""
    arguments = parse_arguments()
    folder: Path = arguments.folder
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # and the service is stopped on the way out
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    try:
        with (
            running_service(folder / "service", log=folder / "service.log", keep=False) as service,
            Client(service.url) as client,
        ):
            print(f"The service answers at {service.url}")
            search = submit_search(client, seconds=arguments.search_seconds)
            compare(client, folder, search, seeds=arguments.seeds, epochs=arguments.epochs)
    except CollapseError as error:
        print(f"{error}\nThe log of the service is {folder / 'service.log'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=positive, default=5, help="networks (default: %(default)s)")
    parser.add_argument("--epochs", type=positive, default=600, help="how long to train (default: %(default)s)")
    parser.add_argument(
        "--search-seconds", type=positive, default=20, help="for the best solution of the model (default: %(default)s)"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="what is made goes here (default: %(default)s)")
    return parser.parse_args()


def positive(text: str) -> int:
    """Read a whole number from 1."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def submit_search(client: Client, *, seconds: int) -> JobView:
    """Ask for the best solution of the model at the head's own decays, width and samples."""
    return client.submit(
        "find_dufm_optimum",
        num_classes=head_network.CLASSES,
        depth=head_network.DEPTH,
        width=head_network.WIDTH,
        samples_per_class=head_network.SAMPLES_PER_CLASS,
        weight_decay=head_network.WEIGHT_DECAY,
        feature_decay=head_network.FEATURE_DECAY,
        restarts=16,
        budget_seconds=seconds,
    )


def compare(client: Client, folder: Path, search: JobView, *, seeds: int, epochs: int) -> None:
    """Train and post, wait for what the service makes of it, tell and draw."""
    looks, jobs = train_and_post(client, seeds=seeds, epochs=epochs)
    reports = wait_for_all(client, jobs)
    optimum = client.report(client.wait(search)["id"])["optimum"]
    lines = reference_losses(optimum)
    losses = [row for look in looks for row in loss_rows(look)]
    print_losses(looks[-1], reports, lines)
    print_layers(reports)
    files = draw(folder, losses=losses, lines=lines, reports=reports)
    (folder / "reports.json").write_text(json.dumps({"optimum": optimum, "reports": reports}) + "\n")
    print("\n" + "\n".join(str(file) for file in [*files, folder / "reports.json"]))


def train_and_post(client: Client, *, seeds: int, epochs: int) -> tuple[list[Look], list[str]]:
    """The looks at the losses, and the jobs that measure each seed's layers at the chosen epochs."""
    run = f"head-on-digits-{time.strftime('%Y%m%d-%H%M%S')}"
    measured = {round(share * epochs) for share in MEASURED_SHARES}
    stride = max(1, epochs // LOSSES)
    looks, jobs = [], []
    with Bar() as bar:
        for look in train(
            seeds=seeds,
            epochs=epochs,
            look_at={*range(0, epochs, stride), epochs} | measured,
            on_epoch=lambda epoch: bar.show(epoch / epochs, f"training {seeds} networks: epoch {epoch}"),
        ):
            if look.epoch in measured:
                jobs += list(post(client, look, run=run))
            looks.append(look)
    return looks, jobs


def post(client: Client, look: Look, *, run: str) -> Iterator[str]:
    """Send the layers of each seed at this epoch; gives the ids of the jobs."""
    for seed, weights in enumerate(look.weights):
        features = {f"features.{name}": layer[seed].contiguous() for name, layer in look.layers.items()}
        applied = {f"weights.{name}": matrix.contiguous() for name, matrix in weights.items()}
        tensors = {"labels": look.labels, **features, **applied}
        job = client.analyse(tensors, run=f"{run}-seed-{seed}", step=look.epoch, layers=list(look.layers))
        yield job["id"]


def wait_for_all(client: Client, jobs: list[str]) -> list[Report]:
    """The reports, by seed and epoch."""
    reports = []
    with Bar() as bar:
        for number, job in enumerate(jobs, 1):
            bar.show(number / len(jobs), f"report {number} of {len(jobs)}")
            reports.append(client.report(client.wait(job)["id"]))
    return sorted(reports, key=lambda report: (report["run"], report["step"]))


def reference_losses(optimum: Report) -> dict[str, float]:
    """What the model's losses at the head's own decays, width and samples are."""
    references = optimum["references"]
    found = {"DNC": references["dnc"], "SRG": (references["srg"] or {}).get("loss"), "best found": optimum["loss"]}
    return {name: loss for name, loss in found.items() if loss is not None}


def loss_rows(look: Look) -> list[dict[str, Any]]:
    """Loss, fit and regularization of each seed at this epoch."""
    parts = {"loss": look.fit + look.regularization, "fit": look.fit, "regularization": look.regularization}
    return [
        {"epoch": look.epoch, "part": part, "seed": seed, "value": value}
        for part, values in parts.items()
        for seed, value in enumerate(values.tolist())
    ]


def print_losses(last: Look, reports: list[Report], lines: dict[str, float]) -> None:
    """A line for each seed: its loss, and over the references."""
    print(f"\nThe model at these decays: {', '.join(f'{name} {loss:.5f}' for name, loss in lines.items())}")
    print(
        "seed  accuracy  loss     "
        + "".join(f"/ {name:11}" for name in lines)
        + "rank of H_2 H_3 H_4  after the last ReLU"
    )
    ends = {report["run"]: report for report in reports if report["step"] == last.epoch}
    losses = (last.fit + last.regularization).tolist()
    for seed, (loss, report) in enumerate(zip(losses, ends.values(), strict=True)):
        ranks = {layer["name"]: layer["metrics"]["class_mean_rank"] for layer in report["layers"]}
        shares = "".join(f"{loss / line:<13.4f}" for line in lines.values())
        hidden = " ".join(f"{ranks[f'H_{index}']:3g}" for index in range(2, head_network.DEPTH + 1))
        after = ranks[f"relu(H_{head_network.DEPTH})"]
        print(f"{seed:4}  {float(last.accuracy[seed]):8.2%}  {loss:.5f}  {shares}        {hidden}  {after:g}")


def print_layers(reports: list[Report]) -> None:
    """A line for each layer: variability and rank at the first and the last epoch, mean of the seeds."""
    first, last = ([report for report in reports if report["step"] == step] for step in epochs_of(reports))
    print(f"\nmean of {len(last)} seeds   within / between variance (DNC1)   rank of the class means")
    for index, layer in enumerate(last[0]["layers"]):
        ratio, rank = (
            [_mean(group, index, metric) for group in (first, last)]
            for metric in ("variability_trace_ratio", "class_mean_rank")
        )
        print(f"{layer['name']:15}   {ratio[0]:14.3g} → {ratio[1]:<14.3g}   {rank[0]:6.3g} → {rank[1]:.3g}")


def epochs_of(reports: list[Report]) -> tuple[int, int]:
    """The first and the last one."""
    steps = [report["step"] for report in reports]
    return min(steps), max(steps)


def _mean(reports: list[Report], layer: int, metric: str) -> float:
    values = [report["layers"][layer]["metrics"][metric] for report in reports]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else float("nan")


if __name__ == "__main__":
    sys.exit(main())

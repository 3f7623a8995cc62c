"""The commands against a real service: what they print for people and for programs, and how they refuse."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from itertools import islice

import numpy as np
import pyarrow.parquet
import pytest
import torch
from safetensors.numpy import load
from service_process import wait_for
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from collapse_client import cli, write_features
from collapse_client.recording import Recorder
from collapse_client.recording.errors import RecordingWarning

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def feature_file(tmp_path):
    random = np.random.default_rng(3)
    labels = np.arange(40) % 4
    features = {"a": np.eye(6)[labels] + 0.01 * random.normal(size=(40, 6)), "b": random.normal(size=(40, 5))}
    write_features(tmp_path / "f.safetensors", labels=labels, features=features)
    return tmp_path / "f.safetensors"


def rows_of(table):
    """A printed table as lists of cells, of which none has two spaces."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in table.splitlines()]


def test_analyse_answers_with_an_id(collapse, client, feature_file):
    options = ("--run", "cli", "--step", 3, "--tags", "x,y", "--layers", "b", "--metrics", "rank,equinorm")
    [job_id] = collapse("analyse", feature_file, *options).stdout.split()
    job = client.job(job_id)
    assert (job["run"], job["step"], job["tags"]) == ("cli", 3, ["x", "y"])
    assert job["parameters"]["layers"] == ["b"]
    assert job["parameters"]["metrics"] == ["class_mean_rank", "equinorm"]


def test_analyse_waits_and_shows_the_report_in_short(collapse, client, feature_file):
    printed = collapse("analyse", feature_file, "--wait")
    assert printed.stderr == ""  # no bar where there is no terminal
    job_id, _, shown = printed.stdout.partition("\n")
    metrics = client.report(job_id)["layers"][0]["metrics"]
    assert ["a", "6", "4", f"{metrics['within_class_variability']:.4g}"] in [row[:4] for row in rows_of(shown)]
    assert "not_the_classifier (a): " in shown


def test_report_forms(collapse, client, feature_file, tmp_path):
    job = client.wait(client.analyse(feature_file))
    report = client.report(job["id"])
    assert json.loads(collapse("report", job["id"], "--json").stdout) == report
    table = collapse("report", job["id"], "--table").stdout
    assert table == collapse("report", job["id"]).stdout
    columns = rows_of(collapse("report", job["id"], "--metrics", "equinorm,nc4").stdout)
    assert ["layer", "dim", "equinorm", "nc4", "structure", "collapsed"] in columns
    refusal = collapse("report", job["id"], "--metrics", "equinorn", code=1).stderr
    assert "no equinorn" in refusal
    assert "equinorm" in refusal
    collapse("report", job["id"], "--html", tmp_path / "r.html")
    assert "<html" in (tmp_path / "r.html").read_text()
    assert "There is no job" in collapse("report", "job_nowhere", code=1).stderr


def test_analyse_refuses_in_the_words_of_the_service(collapse, feature_file, tmp_path):
    told = collapse("analyse", feature_file, "--step", -1, "--metrics", "equinorn", code=1).stderr
    assert "collapse: --step: Input should be greater than or equal to 0" in told
    assert "did you mean 'equinorm'" in collapse("analyse", feature_file, "--metrics", "equinorn", code=1).stderr
    (tmp_path / "no.npz").write_bytes(b"not an archive")
    assert "safetensors" in collapse("analyse", tmp_path / "no.npz", code=1).stderr
    assert "No such file" in collapse("analyse", tmp_path / "nowhere", code=1).stderr


def test_train(collapse, answer, client):
    options = "--num-classes 3 --depth 2 --width 5,4 --weight-decay 1e-3,0.002 --steps 300 --runs 2 --stop-when null"
    report = answer("dufm", "train", *options.split(), "--tags", "small", "--wait")
    parameters = client.job(report["job_id"])["parameters"]
    expected = {"num_classes": 3, "width": [5, 4], "weight_decay": [0.001, 0.002], "runs": 2, "stop_when": None}
    assert expected.items() <= parameters.items()
    assert client.job(report["job_id"])["tags"] == ["small"]
    rows = rows_of(collapse("report", report["job_id"]).stdout)
    best = min(run["loss"] for run in report["training"]["runs"])
    assert next(row[1] for row in rows if len(row) > 5 and row[0] in ("0", "1")) == f"{best:.4g}"
    assert ["dnc", f"{report['training']['references']['dnc']:.4g}"] in rows


def test_optimum(collapse, client):
    shown = collapse("dufm", "optimum", "--num-classes", 3, "--depth", 2, "--restarts", 2, "--wait").stdout
    job_id, _, shown = shown.partition("\n")
    optimum = client.report(job_id)["optimum"]
    assert ["loss", f"{optimum['loss']:.4g}"] in rows_of(shown)
    assert ["structure", optimum["structure"]] in rows_of(shown)


def test_sweep(collapse, answer, client):
    options = "--num-classes 3 --steps 50 --grid weight-decay=0.001,0.004 --grid depth=2 --grid width=[[4,3],5]"
    sent = answer("dufm", "sweep", *options.split(), "--repeats", 1)
    assert sent["parameters"]["grid"] == {"weight_decay": [0.001, 0.004], "depth": [2], "width": [[4, 3], 5]}
    assert sent["parameters"]["base"]["steps"] == 50
    client.wait(sent)
    rows = rows_of(collapse("report", sent["id"]).stdout)
    assert [row[:4] for row in rows if row[:1] in (["0.001"], ["0.004"])] == [
        ["0.001", "2", "4, 3", "1/1"],
        ["0.001", "2", "5", "1/1"],
        ["0.004", "2", "4, 3", "1/1"],
        ["0.004", "2", "5", "1/1"],
    ]


def test_figure(collapse):
    shown = collapse("dufm", "figure", "fig5", "--scale", 0.001, "--wait").stdout
    assert ["statement", "source"] in rows_of(shown)
    assert "cannot tell" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("train --learning-rate 0", "collapse: --learning-rate: Input should be greater than 0"),
        ("train --width 3,x --depth 2", "collapse: --width, value 2: "),
        ("train --weight-decay 1,2 --depth 3", "weight_decay has 2 values and depth is 3"),
        ("train --loss mae --optimizer x", "collapse: --optimizer: Input should be 'gd' or 'adam'\ncollapse: --loss: "),
        ("train --learning-rate nan", "collapse: --learning-rate: "),
        ("optimum --budget-seconds -1", "collapse: --budget-seconds: "),
        ("sweep --grid depth=2 --steps 0", "collapse: --steps: "),
        ("sweep --grid depth=2 --base optimum --steps 5", "collapse: --steps: "),
        ("sweep --grid nothing=2", "train_dufm has no parameter 'nothing'"),
        ("sweep --grid depth=2,0", "at {'depth': 0}"),
        ("figure fig7", "collapse: FIGURE: Input should be 'fig2-top'"),
    ],
)
def test_wrong_parameters_are_named_as_options(collapse, arguments, words):
    assert words in collapse("dufm", *arguments.split(), code=1).stderr


def test_wrong_usage_is_2(process):
    for arguments in (
        ["dufm", "train", "--dept", "h"],
        ["dufm", "sweep"],
        ["dufm", "sweep", "--grid", "depth"],
        ["nope"],
    ):
        assert "usage: collapse" in process(*arguments, code=2).stderr
    assert "from 1" in process("jobs", "--limit", "0", code=2).stderr


def test_jobs(collapse, answer, client, training):
    listed = answer("jobs", "--run", training, "--kind", "measure_collapse", "--status", "succeeded")
    assert [job["step"] for job in listed] == [2, 1, 0]
    header, *rows = rows_of(collapse("jobs", "--run", training, "--limit", 2).stdout)
    assert header[:4] == ["id", "kind", "status", "done"]
    assert [row[:4] for row in rows] == [[job["id"], "measure_collapse", "succeeded", "100%"] for job in listed[:2]]
    assert answer("jobs", "--tag", "no such tag") == []
    assert "--status: Input should be" in collapse("jobs", "--status", "lost", code=1).stderr
    for _ in range(3):
        client.cancel(client.submit("train_dufm", tags=["many"], steps=10_000_000)["id"])
    assert len(answer("jobs", "--tag", "many", "--limit", 2)) == 2


def test_plots_and_artifacts(collapse, answer, client, feature_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = client.wait(client.analyse(feature_file))
    assert answer("plot", job["id"]) == client.plots(job["id"])
    assert ["ranks", "Rank of the class means, layer by layer"] in rows_of(collapse("plot", job["id"]).stdout)
    assert collapse("plot", job["id"], "ranks").stdout == "ranks.svg\n"
    assert (tmp_path / "ranks.svg").read_text().startswith("<svg")
    collapse("plot", job["id"], "ranks", "--output", "r.png", "--theme", "dark")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    collapse("plot", job["id"], "ranks", "--format", "vl.json")
    assert "$schema" in json.loads((tmp_path / "ranks.vl.json").read_text())
    assert "has no figure 'nope'" in collapse("plot", job["id"], "nope", code=1).stderr
    trained = client.wait(client.submit("train_dufm", num_classes=2, depth=2, width=3, steps=10))
    names = [artifact["name"] for artifact in answer("artifact", trained["id"])]
    assert [row[0] for row in rows_of(collapse("artifact", trained["id"]).stdout)] == ["name", *names]
    collapse("artifact", trained["id"], "solution.safetensors")
    assert "W_1" in load((tmp_path / "solution.safetensors").read_bytes())


def test_runs(collapse, answer, client, training, tmp_path):
    assert training in [row[0] for row in rows_of(collapse("runs").stdout)]
    [listed] = answer("runs", "--query", training)
    assert listed == next(islice(client.runs(query=training), 1))
    shown = collapse("run", training).stdout
    assert answer("run", training) == client.run(training)
    assert "3 succeeded" in shown
    assert r'head.0, head.2, "odd, \"name\" (x) \\"' in shown
    [metrics] = re.findall(r"^metrics  (.*?)\n\n", shown, re.MULTILINE | re.DOTALL)
    assert re.split(r",\s+", metrics) == client.run(training)["metrics"]
    assert max(map(len, shown.splitlines())) <= 80
    assert "There is no run" in collapse("run", "nowhere", code=1).stderr
    collapse("plot", training, "rank", "--run", "--layer", "head.2", "--output", tmp_path / "rank.svg")
    assert (tmp_path / "rank.svg").read_text().startswith("<svg")
    assert "class_mean_rank" in [row[0] for row in rows_of(collapse("plot", training, "--run").stdout)]


def test_series(process, client, training, tmp_path):
    expected = client.series(training, metrics=["class_mean_rank"], layers=["head.0", "head.2"])
    selection = ("--metric", "rank", "--layer", "head.0", "--layer", "head.2")
    printed = process("series", training, *selection).stdout
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [(row["layer"], int(row["step"]), float(row["value"])) for row in rows] == [
        (row["layer"], row["step"], row["value"]) for row in expected
    ]
    assert json.loads(process("series", training, *selection, "--json").stdout) == expected
    process("series", training, *selection, "--output", tmp_path / "s.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "s.parquet").num_rows == len(expected)
    assert "has no metric" in process("series", training, "--metric", "nope", code=1).stderr


def test_watch(process, client, feature_file, broken_features, long_job):
    job = client.analyse(feature_file)
    client.cancel(long_job)
    assert process("watch", job["id"]).stdout.startswith(f"{job['id']} succeeded in ")
    assert json.loads(process("watch", job["id"], "--json").stdout) == client.job(job["id"])
    failing = client.submit("measure_collapse", features=broken_features)
    told = process("watch", failing["id"], code=3).stderr
    error = client.job(failing["id"])["error"]
    assert told == f"collapse: {failing['id']} failed ({error['code']}): {error['detail']}\n"
    told = process("watch", long_job, code=4).stderr
    assert told == f"collapse: The job {long_job} was cancelled.\n"
    assert "There is no job" in process("watch", "job_nowhere", code=1).stderr
    assert "does not answer" in process("jobs", "--url", "http://127.0.0.1:9", code=1).stderr


def test_events_come_until_the_end(client, long_job):
    events = client.events(long_job)
    assert next(events)["status"] in ("queued", "running")
    assert next(job for job in events if job["progress"]["fraction"] > 0)["status"] == "running"
    client.cancel(long_job)
    assert [job["status"] for job in events][-1] == "cancelled"
    assert list(client.events("job_nowhere")) == []


def test_cancel(collapse, client, long_job):
    queued = client.submit("train_dufm", steps=10_000_000)["id"]
    assert collapse("cancel", queued).stdout == f"{queued} is cancelled\n"
    wait_for(lambda: client.job(long_job)["status"] == "running", "the start")
    assert "will stop within seconds" in collapse("cancel", long_job).stdout
    wait_for(lambda: client.job(long_job)["status"] == "cancelled", "the end")
    assert (
        "has ended" in collapse("cancel", long_job, code=1).stderr
        or "already" in collapse("cancel", long_job, code=1).stderr
    )


def test_optima(collapse, answer, client, tmp_path):
    known = client.optimum(5, 3, 0.016)
    assert answer("optima", 5, 3, "--decay", 0.016) == known
    assert ["loss", f"{known['loss']:.4g}"] in rows_of(collapse("optima", 5, 3, "--decay", 0.016).stdout)
    rows = rows_of(collapse("optima", 5, "--decay", 0.016).stdout)
    assert [row[:2] for row in rows[1:]] == [["5", str(depth)] for depth in range(2, 8)]
    collapse("optima", 5, 3, "--solution", tmp_path / "s.safetensors")
    assert (tmp_path / "s.safetensors").read_bytes() == client.solution(5, 3)
    collapse("optima", "--plot", tmp_path / "phases.svg")
    assert (tmp_path / "phases.svg").read_text().startswith("<svg")
    assert "find_dufm_optimum" in collapse("optima", 99, 2, code=1).stderr


def test_push_sends_what_a_recorder_could_not(collapse, client, tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    recorder = Recorder(model, ["0", "2"], run="pushed", url="http://127.0.0.1:9", spool=tmp_path, close_timeout=0.1)
    for step in range(2):
        with recorder.step(step):
            model(torch.randn(8, 3))
            recorder.labels(torch.arange(8) % 2)
    with pytest.warns(RecordingWarning):
        recorder.close()
    assert "does not answer" in collapse("push", tmp_path, "--url", "http://127.0.0.1:9", code=1).stderr
    printed = collapse("push", tmp_path).stdout.splitlines()
    assert printed[-1] == "2 sent, 0 refused"
    sent = [client.wait(line.rpartition(" ")[2]) for line in printed[:-1]]
    assert [(job["run"], job["step"]) for job in sent] == [("pushed", 0), ("pushed", 1)]
    again = collapse("push", tmp_path)
    assert again.stdout == "0 sent, 0 refused\n"
    assert "no such folder" in again.stderr
    collapse("gate", "pushed", 'rank("2") <= 2')


def test_export(collapse, training, tmp_path):
    selection = ("--metric", "rank", "--layer", "head.2")
    [folder] = collapse("export", "tensorboard", training, "--folder", tmp_path, *selection).stdout.splitlines()
    events = EventAccumulator(folder).Reload()
    scalars = events.Tensors("class_mean_rank/head.2")
    assert [(event.step, make_ndarray(event.tensor_proto).item()) for event in scalars] == [(0, 6), (1, 6), (2, 1)]
    database = f"sqlite:///{tmp_path}/mlflow.db"
    assert "There is no run" in collapse("export", "mlflow", "nowhere", "--tracking-uri", database, code=1).stderr


def test_a_reader_that_has_enough(environment, training):
    command = f"{sys.executable} -m collapse_client.cli series {training!r} | head -n 1"
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("run,step")
    assert done.stderr == ""


def test_names_from_elsewhere_cannot_move_the_cursor(collapse, client):
    # What a browser or a terminal would act on: C1 controls and marks that turn the direction of writing.
    name = "run \x9b2J \u202e evil"
    client.cancel(client.submit("train_dufm", steps=10_000_000, run=name)["id"])
    printed = collapse("jobs", "--limit", 1).stdout
    assert r"run \x9b2J \u202e evil" in printed
    assert name not in printed


def test_an_output_that_has_no_greek(process, client):
    job = client.wait(client.submit("train_dufm", num_classes=4, depth=2, width=4, steps=10))
    shown = process("report", job["id"], PYTHONIOENCODING="ascii").stdout
    assert r"\u2212" in shown


def test_help_is_there_without_http_torch_or_rich():
    code = """
import sys
from collapse_client import cli
try:
    cli.main(["--help"])
except SystemExit:
    pass
print(*({"torch", "httpx", "rich", "numpy", "pydantic"} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stderr == "\n"
    for command in ("analyse", "dufm", "jobs", "watch", "report", "push", "gate", "serve"):
        assert f"\n    {command} " in done.stdout


@pytest.mark.parametrize("command", ["gate", "dufm sweep", "series", "export tensorboard", "watch"])
def test_every_help_can_be_printed(command, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert "COLLAPSE_API_KEY" in capsys.readouterr().out

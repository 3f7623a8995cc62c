"""A run in MLflow, on a database of its own, read back with MLflow's own client."""

import json

import numpy as np
import pytest
from feature_files import feature_arrays

from collapse_client import Client
from collapse_client.errors import ExportFailed, NothingToExport
from collapse_client.exports.naming import LONGEST_KEY, metric_keys

pytestmark = [
    pytest.mark.xdist_group("mlflow"),
    # MLflow's own use of SQLAlchemy 2.1, and of the standard library.
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]
ODD = "head/<b>?.1"
ODD_KEY = "head/_b__.1"


@pytest.fixture(scope="module")
def client(address):
    with Client(address) as client:
        yield client


@pytest.fixture(scope="module")
def export_run():
    """Imported here: not every test process needs it."""
    from collapse_client.exports.mlflow import export_run

    return export_run


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    """The address of an empty tracking database, and artifacts beside it: MLflow puts them where it is begun."""
    import mlflow

    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        mlflow.MlflowClient(tracking_uri=uri).search_experiments()
    return uri


@pytest.fixture
def mlflow(tracking):
    import mlflow

    return mlflow.MlflowClient(tracking_uri=tracking)


def history(mlflow, run_id, key):
    return sorted((metric.step, metric.value) for metric in mlflow.get_metric_history(run_id, key))


@pytest.fixture(scope="module")
def exported(client, measured_run, export_run, tracking):
    return export_run(client, measured_run, tracking_uri=tracking)


def test_every_value_of_the_series_is_there_and_nothing_else(client, measured_run, exported, mlflow):
    expected = {}
    for row in client.series(measured_run):
        if row["value"] is not None and row["step"] is not None:
            key = f"{row['metric']}/{row['layer'].replace(ODD, ODD_KEY)}"
            expected.setdefault(key, []).append((row["step"], row["value"]))
    assert mlflow.get_run(exported).data.metrics == {key: points[-1][1] for key, points in expected.items()}
    for key in [f"class_mean_rank/{ODD_KEY}", "variability_trace_ratio/layer0"]:
        assert history(mlflow, exported, key) == expected[key]


def test_the_run_says_where_it_comes_from(exported, measured_run, mlflow):
    run = mlflow.get_run(exported)
    assert run.info.run_name == measured_run
    assert run.data.tags["collapse.run"] == measured_run
    assert run.info.status == "FINISHED"
    assert run.info.start_time <= run.info.end_time


def test_the_last_report_is_there_as_json_and_as_a_page(client, measured_run, exported, mlflow, tmp_path):
    job_id = client.run(measured_run)["steps"][2]["job_id"]
    report = mlflow.download_artifacts(exported, "collapse/report.json", tmp_path)
    with open(report) as file:
        assert json.load(file) == client.report(job_id)
    page = mlflow.download_artifacts(exported, "collapse/report.html", tmp_path)
    with open(page, "rb") as file:
        assert file.read() == client.report_html(job_id)


def test_exporting_again_adds_what_is_new_and_nothing_twice(client, export_run, tracking, mlflow):
    def send(step, seed):
        client.wait(client.analyse(feature_arrays(num_samples=40, seed=seed), run="growing", step=step))

    send(1, seed=1)
    first = export_run(client, "growing", tracking_uri=tracking)
    before = history(mlflow, first, "variability_trace_ratio/layer0")
    send(1, seed=2)
    send(2, seed=3)
    assert export_run(client, "growing", tracking_uri=tracking) == first
    assert export_run(client, "growing", tracking_uri=tracking) == first
    current = [
        (row["step"], row["value"])
        for row in client.series("growing", metrics=["variability_trace_ratio"], layers=["layer0"])
    ]
    assert history(mlflow, first, "variability_trace_ratio/layer0") == sorted([*before, *current])
    assert mlflow.get_run(first).data.metrics["variability_trace_ratio/layer0"] == current[-1][1]


def test_it_can_go_to_the_run_that_a_training_made(client, measured_run, export_run, tracking, mlflow):
    mine = mlflow.create_run("0").info.run_id
    mlflow.log_metric(mine, "accuracy", 0.5, step=3)
    assert export_run(client, measured_run, tracking_uri=tracking, run_id=mine, metrics=["class_mean_rank"]) == mine
    run = mlflow.get_run(mine)
    assert set(run.data.metrics) == {"accuracy", "class_mean_rank/layer0", f"class_mean_rank/{ODD_KEY}"}
    assert run.info.status == "RUNNING", "whoever made it ends it"


def test_another_experiment_is_made(client, measured_run, export_run, tracking, mlflow):
    run_id = export_run(client, measured_run, tracking_uri=tracking, experiment="another")
    assert mlflow.get_experiment(mlflow.get_run(run_id).info.experiment_id).name == "another"


def test_what_mlflow_refuses_is_told_in_its_words(client, measured_run, export_run, tracking):
    with pytest.raises(ExportFailed, match=r"MLflow refused: .*no-such-run"):
        export_run(client, measured_run, tracking_uri=tracking, run_id="no-such-run")


def test_a_run_without_steps(client, export_run, tracking):
    client.wait(client.analyse({"labels": np.arange(4) % 2, "features.a": np.eye(4)}, run="stepless"))
    with pytest.raises(NothingToExport, match="give them a step"):
        export_run(client, "stepless", tracking_uri=tracking)


def test_names_stay_apart_and_within_limits(exported, mlflow):
    pairs = [
        ("m", "a" * 300),
        ("m", "a" * 301),
        ("m", "x\ny"),
        ("m", "x\ty"),
        ("m", "../../x"),
        ("m", "a//b"),
        ("m", "é"),
    ]
    keys = metric_keys(pairs)
    assert len(set(keys.values())) == len(pairs)
    assert max(map(len, keys.values())) == LONGEST_KEY
    for step, key in enumerate(keys.values()):
        mlflow.log_metric(exported, key, 1.0, step=step)
    assert set(keys.values()) < set(mlflow.get_run(exported).data.metrics)

"""The command line: what it prints, where, and its exit status."""

import io
import json
import sys
from importlib import metadata

import numpy as np
import pytest

from collapse_client import cli, write_features


def job(status):
    progress = {"fraction": 0.5, "phase": None, "current": 1, "total": 2, "eta_seconds": 1.0}
    return {"id": "job_1", "status": status, "error": None, "progress": progress}


@pytest.fixture
def feature_file(tmp_path):
    write_features(tmp_path / "f", labels=[0, 1], features={"a": np.eye(2)})
    return str(tmp_path / "f")


def test_version_names_the_client_and_what_adds_commands(capsys):
    assert cli.main(["version"]) == 0
    printed = capsys.readouterr().out
    assert f"collapse-client {metadata.version('collapse-client')}" in printed
    assert f"collapse-service {metadata.version('collapse-service')}" in printed


def test_analyse_prints_the_job(service, capsys, feature_file):
    service.will_answer(202, job("queued"))
    options = ["--url", service.url, "--run", "r", "--step", "2", "--layers", "b,a"]
    assert cli.main(["analyse", feature_file, *options]) == 0
    assert capsys.readouterr().out == "job_1\n"
    assert service.requests[0][1] == "/v1/analyses?run=r&step=2&layers=b%2Ca"


def test_analyse_waits_for_the_report(service, capsys, feature_file):
    for answer in (job("queued"), job("running"), job("succeeded"), {"layers": []}):
        service.will_answer(200, answer)
    assert cli.main(["analyse", feature_file, "--url", service.url, "--wait", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"layers": []}
    assert printed.err == ""


@pytest.mark.parametrize("where", ["file", "-"])
def test_submit_sends_what_the_file_says(service, capsys, monkeypatch, tmp_path, where):
    body = {"kind": "train_dufm", "depth": 3, "run": "r", "tags": ["a"], "stop_when": None}
    path = tmp_path / "job.json"
    path.write_text(json.dumps(body))
    monkeypatch.setattr(sys, "stdin", io.StringIO(path.read_text()))
    for answer in (job("queued"), job("succeeded"), {"training": {}}):
        service.will_answer(200, answer)
    file = str(path) if where == "file" else "-"
    assert cli.main(["submit", file, "--wait", "--json", "--url", service.url]) == 0
    assert json.loads(capsys.readouterr().out) == {"training": {}}
    assert json.loads(service.requests[0][3]) == body


@pytest.mark.parametrize(("content", "word"), [("{", "not JSON"), ("[]", "a kind"), ('{"depth": 3}', "a kind")])
def test_submit_refuses_what_is_no_job(service, capsys, tmp_path, content, word):
    path = tmp_path / "job.json"
    path.write_text(content)
    assert cli.main(["submit", str(path), "--url", service.url]) == 1
    assert word in capsys.readouterr().err


def test_artifacts_are_listed_and_fetched(service, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    service.will_answer(200, [{"name": "sweep.csv", "size_bytes": 4}])
    assert cli.main(["artifact", "job_1", "--url", service.url]) == 0
    assert capsys.readouterr().out.split() == ["name", "bytes", "sweep.csv", "4"]
    for arguments in ([], ["--output", "mine"]):
        service.will_answer(200, b"a,b\n")
        assert cli.main(["artifact", "job_1", "sweep.csv", *arguments, "--url", service.url]) == 0
    assert (tmp_path / "sweep.csv").read_bytes() == (tmp_path / "mine").read_bytes() == b"a,b\n"


def test_report(service, capsys, monkeypatch):
    monkeypatch.setenv("COLLAPSE_URL", service.url)
    monkeypatch.setenv("COLLAPSE_API_KEY", "secret")
    service.will_answer(200, {"layers": ["λ"]})
    assert cli.main(["report", "job_1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"layers": ["λ"]}
    assert service.requests[0][2]["Authorization"] == "Bearer secret"


def test_an_error_is_told_in_the_words_of_the_service(service, capsys):
    service.will_refuse(404, "job_not_found", "There is no job job_1.")
    assert cli.main(["report", "job_1", "--url", service.url]) == 1
    printed = capsys.readouterr()
    assert printed.err == "collapse: There is no job job_1.\n"
    assert printed.out == ""


def test_a_missing_key_is_told_with_the_variable_that_holds_it(service, capsys):
    service.will_refuse(401, "unauthorized", "Send the service's key as 'Authorization: Bearer <key>'.")
    assert cli.main(["jobs", "--url", service.url]) == 1
    assert "COLLAPSE_API_KEY" in capsys.readouterr().err


def test_a_file_that_is_not_there(service, capsys):
    assert cli.main(["analyse", "/nowhere/f", "--url", service.url]) == 1
    assert capsys.readouterr().err == "collapse: /nowhere/f: No such file or directory\n"


def test_other_packages_add_commands(monkeypatch):
    def add_commands(subparsers):
        subparsers.add_parser("more").set_defaults(handler=lambda arguments: 7)

    module = type(sys)("more_commands")
    module.add_commands = add_commands
    monkeypatch.setitem(sys.modules, "more_commands", module)
    entry_point = metadata.EntryPoint("more", "more_commands:add_commands", cli.GROUP)
    monkeypatch.setattr(cli, "_entry_points", lambda: [entry_point])
    assert cli.main(["more"]) == 7


def test_a_package_that_cannot_be_loaded_does_not_take_the_client_down(monkeypatch, capsys):
    entry_point = metadata.EntryPoint("broken", "no_such_module:add_commands", cli.GROUP)
    monkeypatch.setattr(cli, "_entry_points", lambda: [entry_point])
    assert cli.main(["version"]) == 0
    printed = capsys.readouterr()
    assert "no_such_module" in printed.err
    assert "collapse-client" in printed.out


def test_a_command_is_required(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 2
    assert "COMMAND" in capsys.readouterr().err

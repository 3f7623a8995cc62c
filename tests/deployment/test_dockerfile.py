"""The Dockerfile: two images with the right things in them, run by commands that exist."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

TARGETS = ("api", "worker")


@pytest.fixture(scope="module")
def pyproject(pytestconfig):
    return tomllib.loads((pytestconfig.rootpath / "pyproject.toml").read_text())


def lineage(stages, target):
    """A stage and those that it stands on."""
    while target in stages:
        yield stages[target]
        target = stages[target].base


def installed(stages, target):
    """Every `pip install` whose result goes into an image."""
    [copied] = [re.fullmatch(r"--from=(\S+) (\S+) \2", text) for text in stages[target].all("COPY")]
    return " ".join(text for stage in lineage(stages, copied[1]) for text in stage.all("RUN") if "pip install" in text)


def test_every_image_stands_on_a_python_of_fixed_version(stages):
    assert {list(lineage(stages, stage))[-1].base for stage in stages} == {"python:3.11.14-slim-bookworm"}


@pytest.mark.parametrize("target", TARGETS)
def test_commands_are_executed_without_a_shell_and_known_to_the_command_line(stages, target, parse_command):
    [text] = stages[target].all("CMD")
    arguments = parse_command(json.loads(text))
    assert callable(arguments.handler)


def test_api_listens_where_it_is_exposed_and_asked_for_its_health(stages, parse_command, health_check):
    [text] = stages["api"].all("CMD")
    arguments = parse_command(json.loads(text))
    assert arguments.host == "0.0.0.0"
    assert stages["api"].all("EXPOSE") == [str(arguments.port)]
    assert f"http://127.0.0.1:{arguments.port}/healthz" in health_check("api")[2]


@pytest.mark.parametrize("target", TARGETS)
def test_health_check_is_python_alone(health_check, target):
    command = health_check(target)
    assert command[:2] == ["python", "-c"]
    compile(command[2], target, "exec")


@pytest.mark.parametrize("target", TARGETS)
def test_runs_as_a_user_of_its_own_who_owns_the_data_folder(stages, target):
    instructions = [instruction for stage in reversed([*lineage(stages, target)]) for instruction in stage.instructions]
    [(_, user)] = [(name, text) for name, text in instructions if name == "USER"]
    assert user not in {"root", "0"}
    [folder] = [text for name, text in instructions if name == "VOLUME"]
    assert f"COLLAPSE_DATA_DIR={folder}" in [text for name, text in instructions if name == "ENV"]
    [created] = [text for name, text in instructions if name == "RUN" and "useradd" in text]
    assert re.search(rf"install --directory --owner={user} .*{folder}$", created)


@pytest.fixture(scope="module")
def requirements(stages, pytestconfig, tmp_path_factory):
    """What the image's own command writes, by file."""
    folder = tmp_path_factory.mktemp("source")
    for name in stages["environment"].all("COPY")[0].split()[:-1]:
        shutil.copy(pytestconfig.rootpath / name, folder)
    [command] = [text for text in stages["environment"].all("RUN") if "tomllib" in text]
    subprocess.run(["sh", "-c", command.replace("python ", f"{sys.executable} ", 1)], cwd=folder, check=True)
    written = [folder / name for name in ("api.txt", "worker.txt")]
    return {path.name: {Requirement(line).name for line in path.read_text().splitlines()} for path in written}


def test_api_is_installed_without_torch(stages, requirements):
    assert not re.search(r"torch|worker", installed(stages, "api"))
    assert "fastapi" in requirements["api.txt"]
    assert "torch" not in requirements["api.txt"]


def test_dependencies_are_installed_before_the_sources_are_copied(stages, requirements, pyproject):
    project = pyproject["project"]
    declared = {Requirement(text).name for text in project["dependencies"] + project["optional-dependencies"]["otel"]}
    assert requirements["api.txt"] == declared - {"collapse-client"}
    assert "torch" in requirements["worker.txt"]
    for target in TARGETS:
        names = [name + " " + text for name, text in stages[f"{target}-environment"].instructions]
        [copied] = [index for index, text in enumerate(names) if text == "COPY . ."]
        before = " ".join(text for text in names[:copied] if "pip install" in text)
        assert "-r api.txt" in before
        assert ("-r worker.txt" in before) == (target == "worker")


def test_worker_is_installed_with_torch_of_a_build_that_can_be_chosen(stages):
    assert "[worker,otel]" in installed(stages, "worker")
    assert '${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} torch' in installed(stages, "worker")
    assert stages["worker-environment"].all("ARG") == ['TORCH_INDEX_URL=""']


@pytest.mark.parametrize("target", TARGETS)
def test_every_version_is_locked(stages, target):
    calls = re.findall(r"pip install(.*?)(?=pip install|$)", installed(stages, target))
    assert calls
    assert all(call.startswith(" -c constraints.txt ") for call in calls)


def test_nothing_secret_is_built_in(stages):
    settings = [text for stage in stages.values() for name in ("ENV", "ARG") for text in stage.all(name)]
    assert not [text for text in settings if re.search(r"KEY|PASSWORD|TOKEN|SECRET", text)]


def test_everything_that_is_copied_is_in_the_repository(stages, pytestconfig):
    copied = [
        name
        for stage in stages.values()
        for text in stage.all("COPY")
        if "--from" not in text
        for name in text.split()[:-1]
    ]
    assert set(copied) == {"constraints.txt", "pyproject.toml", "."}
    assert all((pytestconfig.rootpath / name).exists() for name in copied)


def test_build_context_is_the_packages_and_what_they_are_installed_with(pyproject, pytestconfig):
    lines = (pytestconfig.rootpath / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    allowed = {line.removeprefix("!") for line in rules if line.startswith("!")}
    packages = {name.partition(".")[0] for name in pyproject["tool"]["setuptools"]["packages"]}
    assert rules[0] == "*"
    assert allowed == packages | {"client", "constraints.txt", "pyproject.toml", pyproject["project"]["readme"]}
    assert all((pytestconfig.rootpath / name).exists() for name in allowed)
    assert not [name for name in allowed if fnmatch.fnmatch(name, ".*")]


@pytest.mark.xdist_group("cluster")
def test_health_checks_tell_what_runs_from_what_does_not(health_check, cluster):
    environment = {"PATH": os.defpath, **cluster.settings}

    def healthy(target: str, **changed: str) -> bool:
        command = [sys.executable, *health_check(target)[1:]]
        command[-1] = command[-1].replace("127.0.0.1:8000", cluster.urls[0].removeprefix("http://"))
        return subprocess.run(command, env=environment | changed, capture_output=True, check=False).returncode == 0

    assert healthy("worker")
    assert not healthy("worker", COLLAPSE_BROKER_URL="redis://127.0.0.1:9/0")
    assert healthy("api")
    cluster.apis["api-1"].kill()
    assert not healthy("api")

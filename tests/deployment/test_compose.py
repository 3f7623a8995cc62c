"""docker-compose.yml: every command, setting and volume is one that the service knows."""

import re
from pathlib import Path

import pytest

from jobs.settings import Settings
from server import embedded

OURS = ("migrate", "api", "worker-cpu", "worker-gpu")
STORES = ("postgres", "valkey")


def target(compose, name):
    return compose["services"][name]["build"]["target"]


def test_services_are_those_of_the_architecture(compose):
    assert set(compose["services"]) == {*OURS, *STORES}


@pytest.mark.parametrize("name", OURS)
def test_images_are_built_from_targets_that_exist(compose, stages, name):
    assert target(compose, name) in stages
    assert target(compose, name) == ("worker" if name.startswith("worker") else "api")
    arguments = compose["services"][name]["build"].get("args", {})
    built_with = [text.partition("=")[0] for stage in stages.values() for text in stage.all("ARG")]
    assert set(arguments) <= set(built_with)


def test_commands_are_known_to_the_command_line(compose, parse_command):
    commands = {name: compose["services"][name]["command"] for name in OURS if "command" in compose["services"][name]}
    assert commands == {"migrate": ["collapse", "migrate"]}  # the others run what their image runs
    assert callable(parse_command(commands["migrate"]).handler)


@pytest.mark.parametrize("name", OURS)
def test_settings_are_known(compose, name):
    settings = [key for key in compose["services"][name]["environment"] if key.startswith("COLLAPSE_")]
    assert {key.removeprefix("COLLAPSE_").lower() for key in settings} <= set(Settings.model_fields)


@pytest.mark.parametrize("name", OURS)
def test_settings_are_valid_and_point_at_services(compose, name, monkeypatch):
    environment = compose["services"][name]["environment"]
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    settings = Settings()
    hosts = re.findall(r"(?:@|//)([a-z]+):\d+", f"{settings.database_url} {settings.broker_url}")
    assert hosts == list(STORES)
    assert settings.data_dir == Path("/data")


def test_api_has_a_key_without_which_it_would_refuse_to_start(compose):
    assert compose["services"]["api"]["environment"]["COLLAPSE_API_KEY"].startswith("${COLLAPSE_API_KEY:?")


def test_secrets_come_from_the_environment_alone(compose, pytestconfig):
    given = [
        value
        for service in compose["services"].values()
        for key, value in service.get("environment", {}).items()
        if re.search(r"KEY|PASSWORD|TOKEN|SECRET", key)
    ]
    assert given
    assert all(re.fullmatch(r"\$\{[A-Z_]+:\?.+\}", value) for value in given)
    text = (pytestconfig.rootpath / "docker-compose.yml").read_text()
    assert not re.search(r"://[^/\s]*:[^/\s]*@", text)  # a password within a URL


def test_every_dependency_is_a_service_in_a_state_that_it_reaches(compose):
    for service in compose["services"].values():
        for name, wanted in service.get("depends_on", {}).items():
            other = compose["services"][name]
            if wanted["condition"] == "service_healthy":
                assert "test" in other["healthcheck"]
            else:
                assert (wanted["condition"], name) == ("service_completed_successfully", "migrate")
    for name in ("api", "worker-cpu", "worker-gpu"):
        assert set(compose["services"][name]["depends_on"]) == {"migrate", *STORES}


def test_what_must_last_lies_in_named_volumes(compose):
    folders = {
        name: [volume.partition(":")[0] for volume in service["volumes"]]
        for name, service in compose["services"].items()
    }
    assert {volume for volumes in folders.values() for volume in volumes} == set(compose["volumes"])
    assert all(folders[name] == ["data"] for name in OURS)  # features are shared by API and workers


def test_only_the_api_is_published_and_on_the_loopback_unless_told(compose):
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert published == {"api": ["${API_ADDRESS:-127.0.0.1}:${API_PORT:-8000}:8000"]}


def test_images_are_of_fixed_versions_and_everything_restarts(compose):
    for name in STORES:
        assert re.fullmatch(r"[a-z/]+:\d+\.\d+", compose["services"][name]["image"])
    assert all("restart" in service for service in compose["services"].values())


def test_the_gpu_worker_waits_for_its_profile_and_reserves_a_device(compose):
    gpu = compose["services"]["worker-gpu"]
    assert gpu["profiles"] == ["gpu"]
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert "profiles" not in compose["services"]["worker-cpu"]


def test_the_broker_keeps_what_it_accepted_as_the_embedded_one_does(compose):
    command = compose["services"]["valkey"]["command"]
    embedded_command = embedded.command(Path("valkey-server"), folder=Path("/data"), address=6379)
    for option in ("--appendonly", "--appendfsync", "--maxmemory-policy", "--save"):
        assert command[command.index(option) + 1] == embedded_command[embedded_command.index(option) + 1]

"""docker-compose.yml: every command, setting, address and volume is one that exists, and nothing is open or secret."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deployment.storage import running_storage
from jobs.settings import Settings
from server import embedded

OURS = ("migrate", "api", "worker-cpu", "worker-gpu")
WORKERS = ("worker-cpu", "worker-gpu")
STORES = ("postgres", "valkey", "seaweedfs")
ENDING = ("migrate", "bucket")
OTHERS = ("proxy", "bucket", *STORES)
SECRETS = {"POSTGRES_PASSWORD", "COLLAPSE_API_KEY", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"}
REQUIRED = re.compile(r"\$\{([A-Z0-9_]+):\?(.+)\}")


def interpolated(text, **given) -> str:
    """A value as compose reads it: `${NAME:-default}` and `${NAME:?words}`, `$$` for a dollar sign."""

    def value(match: re.Match) -> str:
        name, kind, rest = match.groups()
        return given.get(name) or (rest if kind == ":-" else f"a {name.lower()}")

    return re.sub(r"\$\{([A-Z0-9_]+)(:-|:\?)([^}]*)\}", value, str(text)).replace("$$", "$")


def environment(compose, name, **given) -> dict[str, str]:
    own = compose["services"][name].get("environment", {})
    return {key: interpolated(value, **given) for key, value in own.items()}


def test_services_are_those_of_the_architecture(compose):
    assert set(compose["services"]) == {*OURS, *OTHERS}


@pytest.mark.parametrize("name", OURS)
def test_images_are_built_from_targets_that_exist(compose, stages, name):
    build = compose["services"][name]["build"]
    assert build["target"] in stages
    assert build["target"] == ("worker" if name.startswith("worker") else "api")
    built_with = [text.partition("=")[0] for stage in stages.values() for text in stage.all("ARG")]
    assert set(build.get("args", {})) <= set(built_with)


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
    for key, value in environment(compose, name).items():
        monkeypatch.setenv(key, value)
    settings = Settings()
    addresses = f"{settings.database_url} {settings.broker_url} {settings.blob_endpoint}"
    assert re.findall(r"(?:@|//)([a-z]+):\d+", addresses) == list(STORES)
    assert settings.blob_url == "s3://collapse"
    assert settings.data_dir == Path("/data")


def test_stores_elsewhere_are_named_by_three_variables(compose, monkeypatch):
    elsewhere = {
        "BROKER_URL": "redis://10.0.0.1:6379/0",
        "DATABASE_URL": "postgresql+psycopg://collapse@10.0.0.1/collapse",
        "S3_ENDPOINT": "https://objects.example.org",
    }
    for name in OURS:
        for key, value in environment(compose, name, **elsewhere).items():
            monkeypatch.setenv(key, value)
        settings = Settings()
        assert [settings.broker_url, settings.database_url, settings.blob_endpoint] == list(elsewhere.values())


def test_api_has_a_key_without_which_it_would_refuse_to_start(compose):
    assert compose["services"]["api"]["environment"]["COLLAPSE_API_KEY"].startswith("${COLLAPSE_API_KEY:?")


def test_secrets_come_from_the_environment_alone(compose, pytestconfig):
    given = {
        key: value
        for service in compose["services"].values()
        for key, value in service.get("environment", {}).items()
        if re.search(r"KEY|PASSWORD|TOKEN|SECRET", key)
    }
    matches = {key: REQUIRED.fullmatch(value) for key, value in given.items()}
    assert all(matches.values()), matches
    assert {match[1] for match in matches.values()} == SECRETS
    text = (pytestconfig.rootpath / "docker-compose.yml").read_text()
    assert not re.search(r"://[^/\s]*:[^/\s]*@", text)  # a password within a URL
    assert all(f"{name}=$(openssl rand -hex " in text for name in SECRETS)  # the head says how to make each


def test_every_dependency_is_a_service_in_a_state_that_it_reaches(compose, stages):
    for service in compose["services"].values():
        for name, wanted in service.get("depends_on", {}).items():
            other = compose["services"][name]
            if wanted["condition"] == "service_healthy":
                built = other.get("build", {}).get("target")
                assert "test" in other.get("healthcheck", {}) or stages[built].all("HEALTHCHECK")
            else:
                assert (wanted["condition"], name in ENDING) == ("service_completed_successfully", True)
    for name in ("api", *WORKERS):
        assert set(compose["services"][name]["depends_on"]) == {*ENDING, *STORES}
    assert set(compose["services"]["proxy"]["depends_on"]) == {"api"}


def test_what_runs_on_has_a_health_check_and_what_ends_has_none(compose, stages):
    for name, service in compose["services"].items():
        own = service.get("healthcheck", {})
        built = bool(name in OURS and stages[service["build"]["target"]].all("HEALTHCHECK") and not own.get("disable"))
        assert ("test" in own or built) == (name not in ENDING), name


def test_what_must_last_lies_in_named_volumes(compose):
    folders = {
        name: [volume.partition(":")[0] for volume in service["volumes"]]
        for name, service in compose["services"].items()
        if "volumes" in service
    }
    assert folders.pop("proxy") == ["./deployment/nginx.conf"]
    assert {volume for volumes in folders.values() for volume in volumes} == set(compose["volumes"])
    assert all(folders[name] == ["scratch"] for name in OURS)
    assert all(folders[name] == [name] for name in STORES)


def test_only_the_proxy_is_published_and_on_the_loopback_unless_told(compose):
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert published == {"proxy": ["${API_ADDRESS:-127.0.0.1}:${API_PORT:-8000}:8080"]}


def test_the_proxy_reaches_the_apis_and_nothing_else(compose):
    networks = {name: set(service["networks"]) for name, service in compose["services"].items()}
    assert networks.pop("proxy") == {"outside"}
    assert networks.pop("api") == {"outside", "inside"}
    assert all(own == {"inside"} for own in networks.values())
    assert compose["networks"]["inside"] == {"internal": True}


@pytest.mark.parametrize("name", [*OURS, *OTHERS])
def test_no_container_can_do_more_than_its_work(compose, stages, name):
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert any(place.startswith("/tmp") for place in service["tmpfs"])
    assert "privileged" not in service
    user = service.get("user") or stages["service"].all("USER")[-1]
    assert user.partition(":")[0] not in {"root", "0", ""}
    assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
    assert "restart" in service
    assert service["logging"]["options"]["max-size"]


def test_images_are_of_fixed_versions(compose):
    for name in OTHERS:
        assert re.fullmatch(r"[a-z/-]+:\d+\.\d+(\.\d+)?(-alpine)?", compose["services"][name]["image"])


def test_the_gpu_worker_waits_for_its_profile_and_has_one_device_for_itself(compose):
    gpu = compose["services"]["worker-gpu"]
    assert gpu["profiles"] == ["gpu"]
    [device] = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert len(device["device_ids"]) == 1
    assert "replicas" not in gpu["deploy"]  # a second process would share the device
    assert "profiles" not in compose["services"]["worker-cpu"]
    assert [environment(compose, name)["COLLAPSE_DEVICE"] for name in WORKERS] == ["cpu", "cuda"]


def test_a_worker_that_is_stopped_has_time_to_hand_its_job_back(compose):
    assert all(compose["services"][name]["stop_grace_period"] == "30s" for name in WORKERS)


def test_the_broker_keeps_what_it_accepted_as_the_embedded_one_does(compose):
    command = compose["services"]["valkey"]["command"]
    embedded_command = embedded.command(Path("valkey-server"), folder=Path("/data"), address=6379)
    for option in ("--appendonly", "--appendfsync", "--maxmemory-policy", "--save"):
        assert command[command.index(option) + 1] == embedded_command[embedded_command.index(option) + 1]


def test_the_documentation_names_what_there_is(compose, pytestconfig):
    text = (pytestconfig.rootpath / "docs/deployment.md").read_text()
    assert {name.lower() for name in re.findall(r"COLLAPSE_([A-Z_]+)", text)} <= set(Settings.model_fields)
    of_compose = set(re.findall(r"\$\{([A-Z0-9_]+)", (pytestconfig.rootpath / "docker-compose.yml").read_text()))
    named = {name for pair in re.findall(r"`([A-Z]+(?:_[A-Z]+)*)`|([A-Z0-9_]+)=", text) for name in pair if name}
    others = {name for name in named if name.startswith("COLLAPSE_")} | {"CUDA_VISIBLE_DEVICES", "BENCH", "CLUSTER"}
    assert named - others <= of_compose
    assert {"APIS", "GPU", "BROKER_URL", "DATABASE_URL", "S3_ENDPOINT"} <= named
    files = re.findall(r"`((?:docs|deployment|tests)/[\w./]+)`", text)
    assert len(files) > 3
    assert all((pytestconfig.rootpath / name).exists() for name in files)


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl to run the script with")
def test_the_bucket_is_made_and_left_alone_when_it_is_there(compose, tmp_path):
    service = compose["services"]["bucket"]
    command = [*service["entrypoint"], *(interpolated(text) for text in service["command"])]
    assert environment(compose, "bucket")["S3_URL"] == "http://seaweedfs:8333/collapse"
    with running_storage(tmp_path / "storage", bucket=None) as (settings, server):
        url = f"{settings['COLLAPSE_BLOB_ENDPOINT']}/collapse"
        own = {"PATH": "/usr/local/bin:/usr/bin:/bin", **environment(compose, "bucket"), "S3_URL": url}
        for _ in range(2):
            done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=60, check=False)
            assert (done.returncode, done.stderr) == (0, "")
        log = re.sub(r"\x1b\[\d*m", "", server.log.read_text())  # it colours what failed
        requests = re.findall(r'"(HEAD|PUT) /collapse HTTP/1.1" (\d+)', log)
        assert requests == [("HEAD", "404"), ("PUT", "200"), ("HEAD", "200")]
        own["S3_URL"] = "http://127.0.0.1:9/collapse"
        assert subprocess.run(command, env=own, capture_output=True, timeout=60, check=False).returncode != 0

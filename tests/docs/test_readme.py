"""What README prints is run, as printed, against the service."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import server

ROOT = Path(server.__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = README + (ROOT / "docs" / "client.md").read_text()
ADDRESS = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", EXAMPLES, flags=re.DOTALL)


@pytest.mark.parametrize(("language", "command"), [("python", [sys.executable, "-c"]), ("bash", ["bash", "-euc"])])
def test_the_examples_run(start_service, tmp_path, language, command) -> None:
    service = start_service()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in blocks(language):
        assert ADDRESS in block
        script = block.replace(ADDRESS, service.url())
        done = subprocess.run(
            [*command, script],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, done.stderr
        assert "variability_trace_ratio" in done.stdout or "layer1" in done.stdout


def test_the_commands_are_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    commands = re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", README, flags=re.MULTILINE)
    targets = {first or second for first, second in commands}
    assert targets >= {"demo", "test", "serve"}
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_the_map_names_what_is_there() -> None:
    rows = re.findall(r"^\| (`[^|]+`) \|", README.split("## Map")[1].split("## Words")[0], flags=re.MULTILINE)
    folders = [folder for row in rows for folder in re.findall(r"`([a-z/]+)/`", row)]
    assert len(folders) >= 9
    assert all((ROOT / folder).is_dir() for folder in folders)
    assert all((ROOT / name).exists() for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", README))


def test_ci_calls_the_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()

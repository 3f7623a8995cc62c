"""What importing costs: a service that only reads files loads neither torch nor HTTP."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import collapse_client


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("collapse_client", {"torch", "httpx"}),
        ("collapse_client.format", {"torch", "httpx"}),
        ("collapse_client.cli", {"torch", "httpx", "rich", "numpy"}),
        ("collapse_client.client", {"torch"}),
    ],
)
def test_modules_that_stay_out(module, forbidden):
    code = f"import sys, {module}; print(*({forbidden!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


@pytest.mark.parametrize("name", collapse_client.__all__)
def test_public_names_are_there(name):
    assert getattr(collapse_client, name).__name__ == name


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="nothing"):
        _ = collapse_client.nothing


def test_every_package_is_part_of_the_distribution():
    folder = Path(collapse_client.__file__).parents[1]
    listed = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(path.parent.relative_to(folder).parts) for path in folder.glob("collapse_client/**/__init__.py")}
    assert set(listed) == found


def test_every_dependency_is_imported():
    folder = Path(collapse_client.__file__).parents[1]
    declared = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"]
    code = "\n".join(path.read_text() for path in folder.glob("collapse_client/**/*.py"))
    imported = set(re.findall(r"^ *(?:from|import) (\w+)", code, re.MULTILINE))
    assert {re.split(r"\W", requirement)[0] for requirement in declared} <= imported


def test_without_torch_the_recorder_says_what_to_install():
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from collapse_client.errors import MissingLibrary\n"
        "try:\n    from collapse_client import Recorder\n"
        "except MissingLibrary as error:\n    print(error)\n"
        "from collapse_client.recording import push\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "torch is not installed: pip install 'collapse-client[moments]'"

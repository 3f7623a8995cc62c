"""The deployment files, parsed, and the command line that their commands are held against."""

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from collapse_client.cli import build_parser

ROOT = Path(__file__).parents[2]


@dataclass
class Stage:
    """One stage of the Dockerfile: what it stands on, and its instructions as (name, rest of the line)."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Every instruction of one name."""
        return [text for instruction, text in self.instructions if instruction == name]


@pytest.fixture(scope="session")
def stages() -> dict[str, Stage]:
    """The stages of the Dockerfile, by name."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    stages: dict[str, Stage] = {}
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, text = line.partition(" ")
        if name == "FROM":
            base, stage = re.fullmatch(r"(\S+) AS (\S+)", text).groups()
            current = stages[stage] = Stage(base)
        elif line:
            current.instructions.append((name, text))
    return stages


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """docker-compose.yml."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="session")
def parse_command() -> Callable[[list[str]], argparse.Namespace]:
    """Hold a command against the real command line; SystemExit where that refuses it."""

    def parse(command: list[str]) -> argparse.Namespace:
        assert command[0] == "collapse"
        return build_parser().parse_args(command[1:])

    return parse


@pytest.fixture(scope="session")
def health_check(stages: dict[str, Stage]) -> Callable[[str], list[str]]:
    """The command that says whether an image's container is healthy."""

    def command(target: str) -> list[str]:
        [text] = stages[target].all("HEALTHCHECK")
        return json.loads(text.partition("CMD ")[2])

    return command

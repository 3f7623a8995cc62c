"""docs/reliability.md: every promise names a test, and every test that it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROMISES = [line for line in (ROOT / "docs" / "reliability.md").read_text().splitlines() if line.startswith("- ")]
NAMED = re.compile(r"`((?:tests|proofs)/[\w/]+\.py)::(\w+)`")


def test_every_promise_names_its_test() -> None:
    assert len(PROMISES) > 40
    assert [promise for promise in PROMISES if not NAMED.search(promise)] == []


def test_every_test_that_is_named_is_there() -> None:
    named = {found for promise in PROMISES for found in NAMED.findall(promise)}
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
    assert missing == []


def test_every_proof_is_promised() -> None:
    text = "\n".join(PROMISES)
    proofs = sorted(path.name for path in (ROOT / "proofs").glob("test_*.py"))
    assert [name for name in proofs if f"proofs/{name}::" not in text] == []

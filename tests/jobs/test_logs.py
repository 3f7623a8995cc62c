"""Log lines: objects for machines, text for people, and both with the ids that are bound."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from jobs.logs import configure_logs
from jobs.settings import Settings


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_a_line_of_a_library_is_an_object_with_our_ids(capsys) -> None:
    configure_logs(Settings(log_format="json"))
    with structlog.contextvars.bound_contextvars(request_id="r", job_id="j"):
        logging.getLogger("celery.worker").warning("late by %d s", 3)
        try:
            raise ValueError("why")
        except ValueError:
            structlog.get_logger("ours").exception("broken")
    theirs, ours = map(json.loads, capsys.readouterr().err.splitlines())
    assert {**theirs, "event": "late by 3 s", "logger": "celery.worker", "level": "warning"} == theirs
    assert (ours["request_id"], ours["job_id"], ours["logger"]) == ("r", "j", "ours")
    assert "ValueError: why" in ours["exception"]


def test_text_is_for_people_and_json_where_no_terminal_shows_it(capsys) -> None:
    configure_logs(Settings(log_format="text"))
    structlog.get_logger("ours").warning("spoken", job_id="j")
    line = capsys.readouterr().err
    assert "spoken" in line
    assert "job_id=j" in line
    with pytest.raises(json.JSONDecodeError):
        json.loads(line)
    configure_logs(Settings())
    structlog.get_logger("ours").warning("spoken")
    assert json.loads(capsys.readouterr().err)["event"] == "spoken"


def test_what_is_below_the_level_is_not_written(capsys) -> None:
    configure_logs(Settings(log_format="json", log_level="warning"))
    structlog.get_logger("ours").info("chatter")
    logging.getLogger("celery").info("chatter")
    assert capsys.readouterr().err == ""

"""Errors, as a person at a terminal is told them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

from collapse_client.errors import JobFailed, ServiceError
from collapse_client.progress import printable


def told(error: Exception, parser: argparse.ArgumentParser) -> str:
    """Return the service's own words, with the option's name for a field that the command has an option for.

    >>> from collapse_client.errors import ServiceError
    >>> parser = argparse.ArgumentParser()
    >>> _ = parser.add_argument("--learning-rate")
    >>> errors = [{"pointer": "/learning_rate", "detail": "Input should be greater than 0"}]
    >>> told(ServiceError(status=422, code="invalid_request", detail="…", errors=errors), parser)
    'collapse: --learning-rate: Input should be greater than 0'
    """
    # Only a line's end is left as it is: what errors quote may be anything.
    lines = "\n".join(f"collapse: {sentence}" for sentence in _sentences(error, parser)).split("\n")
    return "\n".join(map(printable, lines))


def _sentences(error: Exception, parser: argparse.ArgumentParser) -> Iterator[str]:
    if isinstance(error, ServiceError) and error.errors:
        options = {action.dest: [*action.option_strings, action.metavar][0] for action in parser._actions}
        for field in error.errors:
            yield f"{_place(field['pointer'], options)}{field['detail']}"
    elif isinstance(error, JobFailed) and error.job["status"] == "failed":
        yield f"{error.job['id']} failed ({error.code}): {error.detail}"
    elif isinstance(error, ServiceError) and error.code == "unauthorized":
        yield f"{error.detail} Here: the environment variable COLLAPSE_API_KEY."
    elif isinstance(error, OSError) and error.filename is not None:
        yield f"{error.filename}: {error.strerror}"
    else:
        yield str(error)


def _place(pointer: str, options: Mapping[str, object]) -> str:
    """Name what a JSON Pointer into the request leads to: `/base/width/1` is `--width, value 2: `."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    if parts[:1] == ["base"] and parts[1:2] and parts[1] in options:
        parts = parts[1:]  # the parameters of a sweep's jobs are options of their own
    for index, part in enumerate(parts):
        if part in options:
            rest = [f"value {int(step) + 1}" if step.isdecimal() else step for step in parts[index + 1 :]]
            return ", ".join([str(options[part]), *rest]) + ": "
    return f"{pointer}: " if pointer else ""

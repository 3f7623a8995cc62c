"""One request to the service: its body streamed, its errors translated, repeated where that is safe."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from json import loads
from pathlib import Path
from typing import Any

import httpx

from collapse_client.errors import CollapseError, ServiceError, ServiceUnreachable

BLOCK_BYTES = 2**20
TRY_AGAIN = (429, 503)
BROKEN = "digest_mismatch"
"""Code of the answer to a body that was changed on its way."""
LONGEST_PAUSE_SECONDS = 10.0
SILENCE_SECONDS = 40.0
"""For which a stream may be silent: the service sends a comment every 15 s, unless something between holds it back."""


class Transport:
    """An HTTP connection that knows the service's manners."""

    def __init__(self, url: str, *, api_key: str | None, timeout: float, retry_seconds: float) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)
        except httpx.InvalidURL as error:
            raise ServiceUnreachable(f"{url!r} is no address ({error}): give one like http://127.0.0.1:8000") from error
        self._url, self._timeout, self._retry_seconds = url, timeout, retry_seconds

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        json: object = None,
        file: str | os.PathLike[str] | None = None,
        headers: Mapping[str, str] | None = None,
        hold_seconds: float = 0.0,
        repeatable: bool = True,
        patient: bool = False,
        binary: bool = False,
    ) -> Any:
        """Return the JSON of the answer, None for an empty one; of a `binary` answer, its bytes.

        The service may hold the answer back for `hold_seconds`. When it is busy or starting (429, 503), or has got
        something else than its Content-Digest says, a `repeatable` request is sent again after a pause; a `patient` one
        also when nobody answers.
        Raises ServiceError, ServiceUnreachable.
        """
        deadline = time.monotonic() + self._retry_seconds
        given = {name: value for name, value in (params or {}).items() if value is not None}
        for attempt in itertools.count():
            try:
                response = self._send(method, path, given, json, file, dict(headers or {}), hold_seconds)
                return response.content if binary and response.is_success else _answer(response)
            except (ServiceError, ServiceUnreachable) as error:
                pause = _pause(error, attempt, repeatable=repeatable, patient=patient)
                if pause is None or time.monotonic() + pause > deadline:
                    raise
                time.sleep(pause)
        raise AssertionError("the loop above ends by return or raise")

    def events(self, path: str) -> Iterator[Any]:
        """Yield the JSON of server-sent events, until the stream ends or breaks or where it is refused.

        None of these is an error here: whoever wants to know more makes a request.
        """
        timeout = httpx.Timeout(self._timeout, read=SILENCE_SECONDS)
        with suppress(httpx.RequestError, ValueError), self._http.stream("GET", path, timeout=timeout) as response:
            for line in response.iter_lines() if response.is_success else ():
                name, _, data = line.partition(":")
                if name == "data":  # the service writes that of an event in one line
                    yield loads(data)

    def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any],
        json: object,
        file: str | os.PathLike[str] | None,
        headers: dict[str, str],
        hold_seconds: float,
    ) -> httpx.Response:
        timeout = httpx.Timeout(self._timeout, read=self._timeout + hold_seconds)
        content = None
        if file is not None:
            # A generator: one big bytes object is copied again and again, at a tenth of the speed.
            content = _blocks(file)
            headers["Content-Length"] = str(Path(file).stat().st_size)
            headers["Content-Type"] = "application/octet-stream"
        try:
            return self._http.request(
                method, path, params=params, json=json, content=content, headers=headers, timeout=timeout
            )
        except httpx.TransportError as error:
            raise ServiceUnreachable(
                f"The service at {self._url} does not answer ({error}): is it running, and is the address right?"
            ) from error


def content_digest(path: str | os.PathLike[str]) -> str:
    """Return the `Content-Digest` (RFC 9530) of a file, by which the service sees whether it has come as it was."""
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"


def _blocks(path: str | os.PathLike[str]) -> Iterator[bytes]:
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _answer(response: httpx.Response) -> Any:
    """Return the JSON of a good answer; raise what a bad one says."""
    try:
        body = response.json() if response.content else None
    except ValueError:
        body = None
    if response.is_success and (body is not None or response.status_code == httpx.codes.NO_CONTENT):
        return body
    problem = body if isinstance(body, dict) else {}
    stranger = f"The answer ({response.status_code}) is not the service's own: is {response.url} its address?"
    raise ServiceError(
        status=response.status_code,
        code=problem.get("code", "unexpected_answer"),
        detail=problem.get("detail", stranger),
        errors=problem.get("errors") or (),
        request_id=problem.get("request_id") or response.headers.get("X-Request-ID"),
        retry_after_seconds=_seconds(response.headers.get("Retry-After")),
    )


def _seconds(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header; its other form, a date, counts as none."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None


def _pause(error: CollapseError, attempt: int, *, repeatable: bool, patient: bool) -> float | None:
    """Seconds until the next attempt, None when there must not be one."""
    backoff = min(0.1 * 2**attempt, LONGEST_PAUSE_SECONDS)
    if isinstance(error, ServiceError):
        if not repeatable or (error.status not in TRY_AGAIN and error.code != BROKEN):
            return None
        return backoff if error.retry_after_seconds is None else max(error.retry_after_seconds, 0.05)
    return backoff if patient else None

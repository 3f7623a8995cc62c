"""Receiving a body: streamed to the blob folder, hashed on the way, refused as early as it can be known to be wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.digests import announced_sha256, require_digest
from api.errors import ApiError
from api.services import Services
from collapse_client.format import sniff
from jobs.errors import QuotaExceeded
from jobs.files import StagedFile
from jobs.store.quotas import Bytes

BLOCK_BYTES = 2**20
SNIFFED_BYTES = 16
DRAIN_SECONDS = 5.0
LOWEST_BYTES_PER_SECOND = 1024
"""On average since the start: a sender that trickles may not hold a connection for ever."""


@asynccontextmanager
async def received(request: Request, services: Services, owner: str) -> AsyncIterator[StagedFile]:
    """The body as a finished staged file, which is removed when the block ends unless it was kept.

    What would be more than the owner may have is refused as soon as that is known.
    """
    limit = services.settings.max_upload_bytes
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ApiError(415, "unsupported_format", "Send the file as it is, without Content-Encoding.")
    digest = announced_sha256(request.headers.get("content-digest"))
    announced = request.headers.get("content-length", "")
    body = request.stream()
    if announced.isdigit() and int(announced) > limit:
        await _refuse(request, body, _too_large(limit))
    room = await run_in_threadpool(services.quotas.bytes_of, owner)
    try:
        room.require_room(int(announced) if announced.isdigit() else 0)
    except QuotaExceeded as error:
        await _refuse(request, body, error)
    with await run_in_threadpool(services.feature_sets.files.stage) as staged:
        with services.telemetry.uploads.track_inprogress():
            await _receive(request, body, staged, services, room)
        require_digest(digest, staged.sha256)
        services.telemetry.uploaded_bytes.inc(staged.size_bytes)
        yield staged


async def _receive(
    request: Request, body: AsyncIterator[bytes], staged: StagedFile, services: Services, room: Bytes
) -> None:
    limit, idle_seconds = services.settings.max_upload_bytes, services.settings.upload_idle_seconds
    now = asyncio.get_running_loop().time
    started = now()
    block, sniffed = bytearray(), False
    received_bytes = 0
    writer = _Writer(staged)
    try:
        async with asyncio.timeout(idle_seconds) as deadline:
            async for chunk in body:
                block += chunk
                received_bytes += len(chunk)
                latest = started + idle_seconds + received_bytes / LOWEST_BYTES_PER_SECOND
                deadline.reschedule(min(now() + idle_seconds, latest))
                if received_bytes > limit:
                    raise _too_large(limit)
                room.require_room(received_bytes)
                if not sniffed and len(block) >= SNIFFED_BYTES:
                    sniff(bytes(block[:SNIFFED_BYTES]))
                    sniffed = True
                if len(block) >= BLOCK_BYTES:
                    await writer.write(block)
                    block = bytearray()
        if not sniffed:
            sniff(bytes(block))
        await writer.write(block)
        await writer.settle()
    except TimeoutError:
        raise ApiError(
            408,
            "upload_too_slow",
            "The body came too slowly. Nothing was kept; send again, in parts if need be.",
            headers={"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise ApiError(400, "bad_request", "The connection ended before the body did. Nothing was kept.") from None
    except Exception as error:
        await _refuse(request, body, error)
    finally:
        await writer.abandon()
    await run_in_threadpool(staged.finish)


class _Writer:
    """Writes and hashes one block in a thread while the next is received: two blocks in memory, never more."""

    def __init__(self, staged: StagedFile) -> None:
        self._staged = staged
        self._writing: asyncio.Future[None] | None = None

    async def write(self, block: bytearray) -> None:
        """Begin with this block as soon as the one before it is written."""
        await self.settle()
        self._writing = asyncio.ensure_future(run_in_threadpool(self._staged.write, block))

    async def settle(self) -> None:
        """Wait for the block that is being written; raises what its writing raised."""
        if self._writing is not None:
            await self._writing

    async def abandon(self) -> None:
        """Wait likewise, for the file is about to be closed; whatever it raised has been told or matters no more."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)


async def _refuse(request: Request, body: AsyncIterator[bytes], error: Exception) -> None:
    """Read on for a moment before answering: a client that is still writing would see a reset, not our answer."""
    if request.headers.get("expect", "").lower() != "100-continue":
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                async for _ in body:
                    pass
        except (TimeoutError, ClientDisconnect):
            raise error from None
    raise error


def _too_large(limit: int) -> ApiError:
    return ApiError(
        413,
        "body_too_large",
        f"The body is larger than this service takes at once ({limit} bytes). Nothing was kept; send the samples "
        "in parts: POST /v1/features?parts=open.",
        headers={"Connection": "close"},
    )

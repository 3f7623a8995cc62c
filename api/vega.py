"""Vega, Vega-Lite and vega-embed as one script for browsers, without any address outside: vl-convert has them in it."""

import asyncio
import gzip
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

from starlette.concurrency import run_in_threadpool

VEGA_LITE: Final = "6.4"
"""As the figures are drawn with."""
VERSION: Final = f"{VEGA_LITE}-{version('vl-convert-python')}"
MAKE: Final = "import sys, vl_convert; sys.stdout.write(vl_convert.javascript_bundle(vl_version=sys.argv[1]))"


class VegaScript:
    """The script, made when it is first asked for and kept in a folder, compressed.

    Making takes seconds and 150 MB, and holds Python's lock from beginning to end: a process of its own does it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"vega-{VERSION}.js.gz"
        self._making = asyncio.Lock()
        self._compressed: bytes | None = None

    async def compressed(self) -> bytes:
        """The script, by gzip. Raises RuntimeError if it cannot be made."""
        async with self._making:
            if self._compressed is None:
                self._compressed = await run_in_threadpool(self._kept) or await self._made()
            return self._compressed

    def _kept(self) -> bytes | None:
        return self._path.read_bytes() if self._path.exists() else None

    async def _made(self) -> bytes:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", MAKE, VEGA_LITE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        script, errors = await process.communicate()
        if process.returncode or not script:
            raise RuntimeError(f"vl-convert made no script: {errors.decode(errors='replace')}")
        compressed = await run_in_threadpool(gzip.compress, script)
        await run_in_threadpool(self._keep, compressed)
        return compressed

    def _keep(self, compressed: bytes) -> None:
        """For the next start. Where the folder takes no file, the next start makes it again."""
        beside = self._path.with_suffix(f".{id(self)}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            beside.write_bytes(compressed)
            beside.replace(self._path)
        except OSError:
            beside.unlink(missing_ok=True)

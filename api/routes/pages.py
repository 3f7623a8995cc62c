"""The pages: shells of HTML that are the same for everybody; what they show they ask /v1 for, like everybody."""

import gzip
import hashlib
from functools import cache
from html import escape
from importlib import resources
from string import Template
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import APIRouter, Header, Request, Response

from analysis.commands import PUBLIC_KINDS
from api.errors import ApiError
from api.services import ServicesDependency
from api.vega import VERSION as VEGA_VERSION

router = APIRouter(include_in_schema=False)

MEDIA_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
FOR_EVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
SAFE: Final = {
    # Nothing from elsewhere, nothing inline. The figures' tooltips are drawn by our own style sheet.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@router.get("/")
def home(request: Request) -> Response:
    """Runs and jobs."""
    return _page(request, "home", "Runs and jobs", json="/v1/jobs")


@router.get("/runs/{run:path}")
def run(request: Request, run: str) -> Response:
    """One run."""
    return _page(request, "run", run, json=f"/v1/runs/{quote(run, safe='')}")


@router.get("/jobs/{job_id}")
def job(request: Request, job_id: str) -> Response:
    """One job."""
    return _page(request, "job", job_id, json=f"/v1/jobs/{quote(job_id, safe='')}")


@router.get("/catalogue")
def catalogue(request: Request) -> Response:
    """Every metric."""
    return _page(request, "catalogue", "Catalogue of metrics", json="/v1/catalogue")


@router.get("/optima")
def optima(request: Request) -> Response:
    """The phase diagram."""
    return _page(request, "optima", "Catalogue of optima", json="/v1/optima")


@router.get("/optima/{num_classes}/{depth}")
def optimum(request: Request, num_classes: str, depth: str) -> Response:
    """One solution."""
    path = f"/v1/optima/{quote(num_classes, safe='')}/{quote(depth, safe='')}"
    query = f"?{request.url.query}" if request.url.query else ""
    return _page(request, "optimum", f"Optimum of K = {num_classes}, L = {depth}", json=path + query)


@router.get("/new")
def new(request: Request) -> Response:
    """Forms."""
    return _page(request, "new", "New analysis", json="/openapi.json")


@router.get("/docs")
def docs(request: Request) -> Response:
    """The interface, for those who write programs."""
    return _page(request, "docs", "Interface", json="/openapi.json")


@router.get("/pages/vega-{version}.js")
async def vega(services: ServicesDependency, version: str, accept_encoding: Annotated[str, Header()] = "") -> Response:
    """What draws the figures."""
    if version != VEGA_VERSION:
        raise _no_file()
    compressed = await services.vega.compressed()
    if "gzip" in accept_encoding:
        return _file(compressed, "js", FOR_EVER | {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
    return _file(gzip.decompress(compressed), "js", FOR_EVER | {"Vary": "Accept-Encoding"})


@router.get("/pages/{version}/{name}")
def file(version: str, name: str) -> Response:
    """A script or style sheet; its address changes with the contents of any of them."""
    found = _files().get(name)
    if found is None or name.endswith(".html"):
        raise _no_file()
    # Somebody who asks for another version has a page from before an update: what there is, but not to be kept.
    caching = FOR_EVER if version == _version() else {"Cache-Control": "no-cache"}
    return _file(found, name.rpartition(".")[2], caching)


def _page(request: Request, name: str, title: str, *, json: str) -> Response:
    shell = Template(_files()["shell.html"].decode())
    content = Template(_files()[f"{name}.html"].decode()).safe_substitute(kinds=_kinds())
    html = shell.substitute(
        name=name,
        title=escape(title),
        json=escape(json),
        version=_version(),
        vega=VEGA_VERSION,
        content=content,
    )
    return Response(html, media_type="text/html", headers=SAFE | {"Cache-Control": "no-cache"})


def _kinds() -> str:
    return "".join(f"<option>{escape(kind)}</option>" for kind in PUBLIC_KINDS)


def _file(content: bytes, suffix: str, headers: dict[str, str]) -> Response:
    return Response(content, media_type=MEDIA_TYPES[suffix], headers=SAFE | headers)


def _no_file() -> ApiError:
    return ApiError(404, "not_found", "No page has a file of this name. Load the page again.")


@cache
def _files() -> dict[str, bytes]:
    """All of the pages' files, by name."""
    return {file.name: file.read_bytes() for file in (resources.files("api") / "pages").iterdir() if file.is_file()}


@cache
def _version() -> str:
    """Of the pages' files together."""
    digest = hashlib.sha256()
    for name, content in sorted(_files().items()):
        digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()[:16]

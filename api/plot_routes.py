"""Every figure has the same three addresses: as SVG, as PNG, as Vega-Lite specification."""

import hashlib
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Response

from api.answers import IfNoneMatch, has_already, not_modified
from api.documents import file_answer, responses
from api.plots import MEDIA_TYPES, Drawing, Format, Theme
from api.services import ServicesDependency
from api.views import PlotView

ThemeQuery = Annotated[Theme, Query(description="ground of the figure; dark is for screens")]
SUMMARIES: Final[dict[Format, str]] = {
    "svg": "Get a figure, to be scaled",
    "png": "Get a figure, in pixels",
    "vl.json": "Get the Vega-Lite specification of a figure, with its numbers",
}


def add_plot_routes(router: APIRouter, path: str, find: Callable[..., Drawing], *, problems: tuple[int, ...]) -> None:
    """Add the routes `path`.svg, .png and .vl.json; `find` is a dependency that gives the figure."""
    for form, media_type in MEDIA_TYPES.items():
        answers = file_answer(media_type)
        if form == "vl.json":
            answers[200] = {"content": {media_type: {"schema": {"type": "object"}}}}
        router.add_api_route(
            f"{path}.{form}",
            _endpoint(find, form),
            methods=["GET"],
            response_class=Response,
            responses=responses(*problems) | answers,
            summary=SUMMARIES[form],
        )


def _endpoint(find: Callable[..., Drawing], form: Format) -> Callable[..., Coroutine[Any, Any, Response]]:
    async def get_plot(
        services: ServicesDependency,
        drawing: Annotated[Drawing, Depends(find)],
        theme: ThemeQuery = "light",
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        # The figure follows from its numbers and from the version of the service that draws it.
        said = f"{drawing.identity} {form} {theme} {services.version}"
        etag = f'"{hashlib.sha256(said.encode()).hexdigest()}"'
        if has_already(if_none_match, etag):
            return not_modified(etag)
        drawn = await services.plots.draw(drawing, form, theme)
        return Response(drawn, media_type=MEDIA_TYPES[form], headers={"ETag": etag})

    return get_plot


def plot_view(base: str, name: str, title: str) -> PlotView:
    """Where a figure can be had below this address."""
    return PlotView(
        name=name,
        title=title,
        svg=f"{base}/{name}.svg",
        png=f"{base}/{name}.png",
        vega_lite=f"{base}/{name}.vl.json",
    )

"""The catalogue of optima as a figure."""

import hashlib
import json
from typing import Annotated

from fastapi import APIRouter, Query

from analysis.dufm import catalogue
from api.errors import ApiError
from api.plot_routes import add_plot_routes
from api.plots import Drawing, Specification

router = APIRouter(prefix="/optima/plots", tags=["catalogue"])
DecayQuery = Annotated[
    float | None, Query(gt=0, allow_inf_nan=False, description="λ̄ of the cells to draw; all where it is left out")
]


def _drawing(decay: DecayQuery = None) -> Drawing:
    found = [
        entry.model_dump(mode="json")
        for entry in catalogue.entries()
        if decay is None or catalogue.find(entry.num_classes, entry.depth, decay) == entry
    ]
    if not found:
        decays = ", ".join(map(str, catalogue.DECAYS))
        raise ApiError(404, "optimum_not_found", f"The catalogue has no decay {decay:g}; it has {decays}.")

    def specify(dark: bool) -> Specification:
        import figures

        return figures.phase_diagram(found, dark=dark)

    return Drawing(hashlib.sha256(json.dumps(found).encode()).hexdigest(), specify)


add_plot_routes(router, "/phase-diagram", _drawing, problems=(404,))

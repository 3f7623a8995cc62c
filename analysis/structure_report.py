"""What `analysis.structure` returns, without torch: the API, too, knows these models."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
"""As in `analysis.report`, which will import this module and so cannot be imported here."""

Ideal = Literal["simplex_etf", "orthogonal_frame", "strongly_regular_graph"]

GraphParameters = TypedDict("GraphParameters", {"v": int, "k": int, "lambda": int, "mu": int})
"""Of a strongly regular graph: vertices, neighbours of each, common neighbours of two that are adjacent, or are not.

A class could have no attribute `lambda`.
"""


class Structure(BaseModel):
    """The symmetric form that the class means of a layer take, or how far they are from any.

    `kind` is the most specific form within `tolerance`; name, parameters and edges are those of the kind, and null
    where it has none. Distances are between Gram matrices of norm 1: between 0 and 2.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["simplex_etf", "orthogonal_frame", "strongly_regular_graph", "none"]
    name: str | None = Field(description="for people, such as “triangular graph T(5)”; null for kind none")
    parameters: GraphParameters | None = Field(description="v, k, λ, μ of a strongly regular graph; null otherwise")
    distance: FiniteFloat = Field(ge=0, description="to the kind; for kind none to the nearest ideal")
    nearest: Ideal = Field(description="the kind; for kind none the ideal at the least distance")
    distances: dict[Ideal, FiniteFloat] = Field(
        description="to every ideal that was tried; a graph only where the cosines between class means show one"
    )
    edges: tuple[tuple[int, int], ...] | None = Field(
        description="of a strongly regular graph: the pairs of labels whose class means have the larger cosine; "
        "null for other kinds, and above 64 classes"
    )
    tolerance: FiniteFloat = Field(ge=0, description="distance up to which a kind is named")

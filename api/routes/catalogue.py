"""What the service can measure, and the shape of what it answers."""

from typing import Any

from fastapi import APIRouter

from analysis.metrics import catalogue
from analysis.report import MetricEntry, Report
from api.documents import responses

router = APIRouter(tags=["catalogue"])


@router.get("/catalogue", responses=responses())
def get_catalogue() -> list[MetricEntry]:
    """List every metric with its formula, ideal, conventions and source."""
    return list(catalogue().values())


@router.get("/schemas/report.json", responses=responses())
def get_report_schema() -> dict[str, Any]:
    """Get the JSON Schema of a report."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Report.model_json_schema(mode="serialization")}

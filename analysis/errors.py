"""What can go wrong in an analysis.

    AnalysisError
    ├── UnknownLayer      invalid_request: the command names a layer that the features do not have
    ├── ChildFailed       the code of a job that this one needs: it has failed, or part_lost, child_cancelled
    └── UndefinedMetric   never leaves the package: becomes `null` in the report, with a warning

Wrong features are told by `collapse_client.format.errors`; what `Surroundings.progress` raises is let through.
"""


class AnalysisError(Exception):
    """`code` is a stable word for programs, `detail` says to people what is wrong and what to do."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class UnknownLayer(AnalysisError):
    """The command asks for a layer that is not among the features."""


class ChildFailed(AnalysisError):
    """A job that does a part of this one has failed; `code` and `detail` are its own."""


class UndefinedMetric(AnalysisError):
    """The metric has no value on this layer; `code` and `detail` say why, in words that other metrics may share."""

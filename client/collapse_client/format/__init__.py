"""The language of the wire: feature files, as both sides read and write them. Imports neither torch nor httpx."""

from collapse_client.format.errors import FormatError, InvalidFeatures, UnsafeFile, UnsupportedFormat
from collapse_client.format.features import (
    FeatureFile,
    FeaturesDescription,
    LayerInfo,
    TensorInfo,
    check_complete,
    describe,
    merge_descriptions,
    order_layers,
    sniff,
)
from collapse_client.format.writer import write_features

__all__ = [
    "FeatureFile",
    "FeaturesDescription",
    "FormatError",
    "InvalidFeatures",
    "LayerInfo",
    "TensorInfo",
    "UnsafeFile",
    "UnsupportedFormat",
    "check_complete",
    "describe",
    "merge_descriptions",
    "order_layers",
    "sniff",
    "write_features",
]

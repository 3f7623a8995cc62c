"""The language of the wire: feature files, as both sides read and write them. Imports neither torch nor httpx."""

from collapse_client.format.description import FeaturesDescription, LayerInfo, check_complete
from collapse_client.format.errors import FormatError, InvalidFeatures, UnsafeFile, UnsupportedFormat
from collapse_client.format.features import FeatureFile
from collapse_client.format.inspection import describe
from collapse_client.format.layers import order_layers
from collapse_client.format.merging import merge_descriptions
from collapse_client.format.moments_file import MomentsFile
from collapse_client.format.moments_writer import write_moments
from collapse_client.format.opening import open_features
from collapse_client.format.sniffing import sniff
from collapse_client.format.tensors import TensorInfo
from collapse_client.format.writer import write_features

__all__ = [
    "FeatureFile",
    "FeaturesDescription",
    "FormatError",
    "InvalidFeatures",
    "LayerInfo",
    "MomentsFile",
    "TensorInfo",
    "UnsafeFile",
    "UnsupportedFormat",
    "check_complete",
    "describe",
    "merge_descriptions",
    "open_features",
    "order_layers",
    "sniff",
    "write_features",
    "write_moments",
]

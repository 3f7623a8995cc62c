"""Opening a file of either kind."""

from __future__ import annotations

import os
from typing import Union

from collapse_client.format.features import FeatureFile
from collapse_client.format.moments_file import MomentsFile
from collapse_client.format.open_file import opened_tensors
from collapse_client.format.vocabulary import holds_moments

AnyFile = Union[FeatureFile, MomentsFile]


def open_features(path: str | os.PathLike[str], *, max_inflated_bytes: int) -> AnyFile:
    """Open a file of samples or of moments, which the names of its tensors tell apart, and check its header.

    Raises FormatError, or OSError when the disk does.
    """
    with opened_tensors(path, max_inflated_bytes=max_inflated_bytes) as file:
        return MomentsFile(file) if holds_moments(file.tensors) else FeatureFile(file)

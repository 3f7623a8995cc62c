"""Writing a file, as safetensors.

Written here because the library copies every tensor into one bytes object first, and cannot name numpy's bfloat16.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from collapse_client.format.layers import layers_of
from collapse_client.format.moments_rules import check_moments
from collapse_client.format.safetensors_file import DTYPE_OF_CODE
from collapse_client.format.sample_rules import check_samples
from collapse_client.format.tensors import Array, TensorInfo, stored_dtype
from collapse_client.format.vocabulary import holds_moments

CODE_OF_DTYPE = {dtype: code for code, dtype in DTYPE_OF_CODE.items()}


def write_features(
    path: str | os.PathLike[str],
    *,
    labels: Any,
    features: Mapping[str, Any],
    weights: Mapping[str, Any] | None = None,
    biases: Mapping[str, Any] | None = None,
    split: Any = None,
    ood: Mapping[str, Any] | None = None,
) -> None:
    """Write labels (N,), features (N, …) by layer, and optionally the weights (d_out, d_in) and biases (d_out,).

    `split` (N,): which split each sample belongs to, such as 0 for training and 1 for validation. `ood` (M, …) by
    layer: samples of no class, to compare with.

    Takes numpy arrays and torch tensors (any device; bfloat16 too). The order of `features` is the order of the layers.
    The file appears whole or not at all. Raises InvalidFeatures when the tensors do not fit each other.

        write_features("step10.safetensors", labels=labels, features={"layer1": hidden, "layer2": output})
    """
    of_samples = {"labels": labels} if split is None else {"labels": labels, "split": split}
    write_tensors(path, {**of_samples, **named(features=features, weights=weights, biases=biases, ood=ood)})


def named(**kinds: Mapping[str, Any] | None) -> dict[str, Any]:
    """Give tensors by kind and layer the names that they have in a file.

    >>> named(weights={"layer1": 1, "layer2": 2}, biases=None)
    {'weights.layer1': 1, 'weights.layer2': 2}
    """
    return {f"{kind}.{layer}": value for kind, layers in kinds.items() for layer, value in (layers or {}).items()}


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Any]) -> None:
    """Write tensors under the names that they have in a file; see `write_features` and `write_moments`."""
    values = {name: value if hasattr(value, "dtype") else np.asarray(value) for name, value in tensors.items()}
    infos = {name: TensorInfo(name, _dtype_name(value), tuple(value.shape)) for name, value in values.items()}
    (check_moments if holds_moments(infos) else check_samples)(infos)
    # Widest first: then each tensor starts at a multiple of its own item size.
    order = sorted(infos, key=lambda name: -stored_dtype(infos[name].dtype).itemsize)
    partial = Path(f"{os.fspath(path)}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(_header([infos[name] for name in order], layers_of(infos)))
            for name in order:
                file.write(_stored(values[name], infos[name].dtype).data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _header(infos: list[TensorInfo], layers: tuple[str, ...]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"layers": json.dumps(layers)}}
    end = 0
    for info in infos:
        start, end = end, end + info.size * stored_dtype(info.dtype).itemsize
        code = CODE_OF_DTYPE[info.dtype]
        entries[info.name] = {"dtype": code, "shape": info.shape, "data_offsets": [start, end]}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _dtype_name(value: Any) -> str:
    """Return `float32` for numpy's and torch's float32, whatever the byte order."""
    name = getattr(value.dtype, "name", None)
    return name if isinstance(name, str) else str(value.dtype).replace("torch.", "")


def _stored(value: Any, dtype: str) -> Array:
    """Return the values as they lie in the file. Torch is told by what it can do, so that it need not be installed."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # numpy knows no bfloat16: through float32, of which it is the upper half.
        value = (value.float().numpy().view(np.uint32) >> 16) if dtype == "bfloat16" else value.numpy()
    elif dtype == "bfloat16":
        value = value.view(np.uint16)
    return np.ascontiguousarray(value, stored_dtype(dtype))

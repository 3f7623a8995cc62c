"""Writing a feature file, as safetensors.

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
from collapse_client.format.rules import check_tensors
from collapse_client.format.safetensors_file import DTYPE_OF_CODE
from collapse_client.format.tensors import Array, TensorInfo, stored_dtype

CODE_OF_DTYPE = {dtype: code for code, dtype in DTYPE_OF_CODE.items()}


def write_features(
    path: str | os.PathLike[str],
    *,
    labels: Any,
    features: Mapping[str, Any],
    weights: Mapping[str, Any] | None = None,
    biases: Mapping[str, Any] | None = None,
) -> None:
    """Write labels (N,), features (N, …) by layer, and optionally the weights (d_out, d_in) and biases (d_out,).

    Takes numpy arrays and torch tensors (any device; bfloat16 too). The order of `features` is the order of the layers.
    The file appears whole or not at all. Raises InvalidFeatures when the tensors do not fit each other.

        write_features("step10.safetensors", labels=labels, features={"layer1": hidden, "layer2": output})
    """
    named = {"labels": labels}
    for kind, of_layers in (("features", features), ("weights", weights), ("biases", biases)):
        named.update({f"{kind}.{layer}": value for layer, value in (of_layers or {}).items()})
    write_tensors(path, named)


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Any]) -> None:
    """Write tensors under the names that they have in a feature file; see `write_features`."""
    values = {name: value if hasattr(value, "dtype") else np.asarray(value) for name, value in tensors.items()}
    infos = {name: TensorInfo(name, _dtype_name(value), tuple(value.shape)) for name, value in values.items()}
    check_tensors(infos)
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

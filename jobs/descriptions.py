"""What a file holds, as the database keeps it: JSON, which has text for keys."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from collapse_client.format import FeaturesDescription, LayerInfo


def as_json(description: FeaturesDescription) -> dict[str, Any]:
    """A description as JSON."""
    splits = description.split_class_counts.items()
    return {
        "num_samples": description.num_samples,
        "class_counts": counts_as_json(description.class_counts),
        "split_class_counts": {str(split): counts_as_json(counts) for split, counts in splits},
        "layers": [asdict(layer) for layer in description.layers],
    }


def from_json(content: Mapping[str, Any]) -> FeaturesDescription:
    """The description again; those stored by earlier versions have no splits, samples of no class and moments."""
    splits = content.get("split_class_counts", {}).items()
    return FeaturesDescription(
        num_samples=content["num_samples"],
        class_counts=_counts(content["class_counts"]),
        split_class_counts={int(split): _counts(counts) for split, counts in splits},
        layers=tuple(_layer(layer) for layer in content["layers"]),
    )


def counts_as_json(counts: Mapping[int, int]) -> dict[str, int]:
    """Label → number of samples, in ascending order of label."""
    return {str(label): count for label, count in sorted(counts.items())}


def _counts(content: Mapping[str, int]) -> dict[int, int]:
    return {int(label): count for label, count in content.items()}


def _layer(content: Mapping[str, Any]) -> LayerInfo:
    weights_shape = content["weights_shape"]
    return LayerInfo(**{**content, "weights_shape": tuple(weights_shape) if weights_shape else None})

"""What a feature file, or a set of them, holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from collapse_client.format.errors import InvalidFeatures

MAX_CLASSES = 10_000
MAX_SPLITS = 8
MAX_SAMPLES = 2**53  # exact in a float64


@dataclass(frozen=True)
class LayerInfo:
    """One layer: `dim` numbers per sample once the trailing axes are flattened.

    `second_moments` is None where there are samples; of moments it says what can be told about the scatter within the
    classes: "matrix" (all), "projection" (along the class means), "trace" (how much, class by class).
    """

    name: str
    dim: int
    dtype: str
    weights_shape: tuple[int, int] | None
    ood_samples: int = 0
    second_moments: str | None = None


@dataclass(frozen=True)
class FeaturesDescription:
    """Samples, samples per class (class index → count, ascending) and layers in order.

    `split_class_counts` has the samples per class of each split (ascending too), where the samples have splits.
    """

    num_samples: int
    class_counts: dict[int, int]
    layers: tuple[LayerInfo, ...]
    split_class_counts: dict[int, dict[int, int]] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """Number of distinct labels."""
        return len(self.class_counts)


def check_complete(description: FeaturesDescription) -> None:
    """Raise InvalidFeatures unless every split has two samples and two classes, the least that can collapse."""
    samples = any(layer.second_moments is None for layer in description.layers)
    tensor = "labels" if samples else "classes"
    if not description.split_class_counts:
        _check_collapsible(description.class_counts, where="", tensor=tensor)
    for split, class_counts in description.split_class_counts.items():
        _check_collapsible(class_counts, where=f" of split {split}", tensor="split")


def _check_collapsible(class_counts: Mapping[int, int], *, where: str, tensor: str) -> None:
    if sum(class_counts.values()) < 2:
        raise InvalidFeatures(f"There is 1 sample{where}, at least 2 are needed: send more samples.", tensor=tensor)
    if len(class_counts) < 2:
        only = next(iter(class_counts))
        raise InvalidFeatures(
            f"All samples{where} have label {only}, at least 2 classes are needed: send samples of other classes too.",
            tensor=tensor,
        )


def check_class_count(class_counts: Mapping[int, int]) -> None:
    """Raise InvalidFeatures for more distinct labels than can be classes."""
    if len(class_counts) > MAX_CLASSES:
        raise InvalidFeatures(
            f"Tensor 'labels' has more than {MAX_CLASSES} distinct values: are these class indices?", tensor="labels"
        )


def check_split_count(count: int) -> None:
    """Raise InvalidFeatures for more distinct splits than can be meant."""
    if count > MAX_SPLITS:
        raise InvalidFeatures(
            f"Tensor 'split' has more than {MAX_SPLITS} distinct values: number the splits, such as 0 for training "
            "and 1 for validation, or send them as sets of their own.",
            tensor="split",
        )

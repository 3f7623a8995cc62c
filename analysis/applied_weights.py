"""The weights that are applied to a layer's features, as metrics need them: there, of the right shape, not zero."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float64
from torch import Tensor

from analysis.errors import UndefinedMetric
from analysis.singular_values import LARGEST_GRAM, singular_values

Weights = Float64[Tensor, "outputs inputs"]


@dataclass(frozen=True)
class AppliedWeights:
    """W_l and its bias, which make W_l h + b of the features h of layer l, and the next matrix W_{l+1} of the network.

    Each property raises UndefinedMetric with the reason where it does not exist.
    """

    layer: str
    last_layer: str
    num_classes: int
    matrix: Weights | None = None
    bias: Float64[Tensor, " outputs"] | None = None
    following: tuple[str, Float64[Tensor, "_ _"]] | None = None
    """the next layer that has weights, and those, which need not follow on these"""
    absence: str | None = None
    """why there can be no matrix, where nobody could send one"""

    @property
    def given(self) -> Weights:
        """W_l (d_out × d); not zero."""
        if self.matrix is None:
            missing = f"there is no tensor 'weights.{self.layer}': send the matrix applied to this layer"
            raise UndefinedMetric("no_weights", self.absence or missing)
        if not bool(self.matrix.any()):
            raise UndefinedMetric("zero_weights", "the weights are all zero: send trained ones")
        return self.matrix

    @property
    def biases(self) -> Float64[Tensor, " outputs"]:
        """B of W_l h + b."""
        if self.bias is None:
            raise UndefinedMetric(
                "no_biases", f"there is no tensor 'biases.{self.layer}': send it, zeros for a layer without a bias"
            )
        return self.bias

    @property
    def next(self) -> Float64[Tensor, "_ _"]:
        """W_{l+1}, of the next layer that has weights; takes what W_l gives."""
        weights = self.given
        if self.following is None:
            raise UndefinedMetric("no_following_weights", "no layer after this one has weights: look at those before")
        name, following = self.following
        if following.shape[1] != len(weights):
            raise UndefinedMetric(
                "weights_do_not_follow",
                f"'weights.{name}' takes {following.shape[1]} numbers and 'weights.{self.layer}' gives {len(weights)}: "
                "the two are not neighbours",
            )
        if not bool(following.any()):
            raise UndefinedMetric("zero_weights", f"'weights.{name}' are all zero: send trained ones")
        _require_room(len(weights), self.layer)
        return following

    @property
    def classifier(self) -> Weights:
        """W of the last layer (K × d), one row for each class in ascending order of label."""
        if self.layer != self.last_layer:
            raise UndefinedMetric(
                "not_the_classifier", f"the classifier belongs to the last layer, {self.last_layer!r}: look there"
            )
        if self.matrix is None:
            raise UndefinedMetric(
                "no_classifier_weights",
                f"there is no tensor 'weights.{self.layer}': send the classifier (K × d) with it",
            )
        if len(self.matrix) != self.num_classes:
            raise UndefinedMetric(
                "weights_do_not_fit",
                f"'weights.{self.layer}' has {len(self.matrix)} rows and the labels {self.num_classes} classes: send "
                "samples of every class that the classifier knows, in the order of its rows",
            )
        return self.given

    @cached_property
    def singular_values(self) -> Float64[Tensor, " values"]:
        """Singular values of W_l, largest first."""
        _require_room(min(self.given.shape), self.layer)
        return singular_values(self.given)


def _require_room(size: int, layer: str) -> None:
    if size > LARGEST_GRAM:
        raise UndefinedMetric(
            "weights_too_large",
            f"this needs a product of 'weights.{layer}' with {size} rows, and up to {LARGEST_GRAM} are formed: leave "
            "the weights out",
        )

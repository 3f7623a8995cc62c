"""Every metric as it is usually written: all samples at once, in float64, full covariances, `pinv`, all differences."""

from __future__ import annotations

import torch
from torch import Tensor

RANK_TOLERANCE = 1e-3
"""Share of the largest singular value; the default of `measure_collapse`."""
RANKME_EPSILON = 1e-7

Values = dict[str, Tensor]


def straightforward(features: Tensor, labels: Tensor, weights: Tensor | None) -> dict[str, float]:
    """All metrics of a layer; those of the classifier where there are weights."""
    H = features.double()
    num_classes = int(labels.max()) + 1
    M = torch.stack([H[labels == label].mean(dim=0) for label in range(num_classes)])
    values = variability(H, labels, M) | geometry(M) | ranks("class_mean", M)
    values |= ranks("centered_class_mean", M - M.mean(dim=0))
    values["class_mean_condition_number"] = condition_number(M)
    values["low_rank_gap"] = num_classes - values["class_mean_rank"]
    nearest = torch.cdist(H, M).argmin(dim=1)
    values["nearest_center_accuracy"] = (nearest == labels).double().mean()
    if weights is not None:
        W = weights.double()
        values |= duality(W, M) | alignment(W, M) | ranks("weight", W)
        values["nearest_center_mismatch"] = ((H @ W.T).argmax(dim=1) != nearest).double().mean()
    return {name: float(value) for name, value in values.items()}


def variability(H: Tensor, labels: Tensor, M: Tensor) -> Values:
    """Within-class against between-class."""
    num_classes, centered = len(M), M - M.mean(dim=0)
    residuals = H - M[labels]
    within, between = residuals.T @ residuals / len(H), centered.T @ centered / num_classes
    variances = torch.stack([residuals[labels == c].square().sum(dim=1).mean() for c in range(num_classes)])
    first, second = torch.triu_indices(num_classes, num_classes, 1)
    # The first K − 1 directions: where the means have full rank this is NC1, elsewhere it is wrong.
    inverse = torch.linalg.pinv(between, rtol=1e-8, hermitian=True)
    return {
        "variability_trace_ratio": within.trace() / between.trace(),
        "within_class_variability": (within @ inverse).trace() / num_classes,
        "class_distance_normalized_variance": (
            (variances[first] + variances[second]) / (2 * pairwise_squared_distances(M))
        ).mean(),
    }


def geometry(M: Tensor) -> Values:
    """The class means among each other."""
    num_classes, centered = len(M), M - M.mean(dim=0)
    norms = centered.norm(dim=1)
    directions = centered / norms[:, None]
    first, second = torch.triu_indices(num_classes, num_classes, 1)
    cosines = (directions @ directions.T)[first, second]
    frame = torch.eye(num_classes, dtype=M.dtype) / num_classes**0.5
    gram, uncentered = centered @ centered.T, M @ M.T
    return {
        "equinorm": norms.std(correction=0) / norms.mean(),
        "equiangularity": cosines.std(correction=0),
        "maximal_angle": (cosines + 1 / (num_classes - 1)).abs().mean(),
        "simplex_etf_distance": (gram / gram.norm() - simplex(M)).norm(),
        "orthogonal_frame_distance": (uncentered / uncentered.norm() - frame).norm(),
        "mutual_coherence": cosines.abs().max(),
        "hyperspherical_energy": -pairwise_squared_distances(directions).sqrt().log().mean(),
    }


def ranks(prefix: str, matrix: Tensor) -> Values:
    """What is called a rank, of the matrix's singular values."""
    s = torch.linalg.svdvals(matrix)
    shares = s / s.sum()
    raised = shares + RANKME_EPSILON
    values = {
        "rank": (s > RANK_TOLERANCE * s[0]).sum(),
        "stable_rank": s.square().sum() / s[0] ** 2,
        "effective_rank": (-shares.xlogy(shares).sum()).exp(),
        "participation_ratio": s.square().sum() ** 2 / s.pow(4).sum(),
        "nuclear_rank": s.sum() ** 2 / s.square().sum(),
        "rankme": (-(raised * raised.log()).sum()).exp(),
    }
    return {f"{prefix}_{name}": value for name, value in values.items()}


def condition_number(M: Tensor) -> Tensor:
    """The largest over the last of the K singular values, which is zero where K > d."""
    s = torch.linalg.svdvals(M)
    return s[0] / (s[-1] if len(s) == len(M) else 0.0)


def duality(W: Tensor, M: Tensor) -> Values:
    """The classifier against the centred class means."""
    centered = M - M.mean(dim=0)
    scores = W @ centered.T
    cosines = torch.nn.functional.cosine_similarity(W, centered)
    return {
        "self_duality_distance": (W / W.norm() - centered / centered.norm()).norm(),
        "self_duality_structure": (scores / scores.norm() - simplex(M)).norm(),
        "self_duality_cosine": (1 - cosines).mean(),
        "uniform_duality": cosines.var(correction=0),
    }


def alignment(W: Tensor, M: Tensor) -> Values:
    """The classifier against the class means as they are: their span, and the nearest of them row by row."""
    projection = torch.linalg.pinv(M) @ M
    lengths = W.norm(dim=1)
    cosines = (W / lengths[:, None]) @ (M / M.norm(dim=1, keepdim=True)).T
    sines = (1 - cosines.max(dim=1).values.square()).clamp(min=0).sqrt()
    return {
        "weight_alignment": (W - W @ projection).norm() / W.norm(),
        "row_alignment": (lengths * sines).sum() / lengths.sum(),
    }


def simplex(M: Tensor) -> Tensor:
    """The Gram matrix of K vectors that form a simplex, of norm 1."""
    num_classes = len(M)
    return (torch.eye(num_classes, dtype=M.dtype) - 1 / num_classes) / (num_classes - 1) ** 0.5


def pairwise_squared_distances(points: Tensor) -> Tensor:
    """‖x_i − x_j‖² for every pair i < j; a row at a time, for K × K × d numbers would not fit."""
    rows = [(points[i] - points[i + 1 :]).square().sum(dim=1) for i in range(len(points) - 1)]
    return torch.cat(rows)

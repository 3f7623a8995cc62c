"""Every metric a second time: from its formula, in float64 numpy, with loops and full matrices, as slow as it may be.

A function that is marked as a metric has the metric's name; every function takes a `Data`. Classes are the distinct
labels, ascending, and the rows of a classifier stand for them in that order.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

METRICS = []


def metric(function):
    METRICS.append(function.__name__)
    return function


@dataclass
class Data:
    """One layer: H (N, d), y (N,), W (d_out, d), b (d_out,), W_next (d_out_next, d_out), ood (M, d)."""

    H: np.ndarray
    y: np.ndarray
    W: np.ndarray | None = None
    b: np.ndarray | None = None
    W_next: np.ndarray | None = None
    ood: np.ndarray | None = None
    tolerance: float = 1e-3
    weighting: str = "balanced"
    last: bool = True


def classes(data):
    return np.unique(data.y)


def split(data):
    return [data.H[data.y == label] for label in classes(data)]


def counts(data):
    return np.array([len(samples) for samples in split(data)])


def means(data):
    return np.stack([samples.mean(axis=0) for samples in split(data)])


def global_mean(data):
    return {"balanced": means(data), "sample": data.H}[data.weighting].mean(axis=0)


def centered(data):
    return means(data) - global_mean(data)


def class_variances(data):
    return np.array([np.mean(np.sum((samples - samples.mean(axis=0)) ** 2, axis=1)) for samples in split(data)])


def within_class_covariance(data):
    residuals = [samples - samples.mean(axis=0) for samples in split(data)]
    return sum(R.T @ R for R in residuals) / len(data.y)


def class_weights(data):
    K, N = len(classes(data)), len(data.y)
    return {"balanced": np.ones(K) / K, "sample": counts(data) / N}[data.weighting]


def between_class_covariance(data):
    return sum(weight * np.outer(m, m) for weight, m in zip(class_weights(data), centered(data), strict=True))


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def cosines(data):
    return np.array([cosine(a, b) for a, b in combinations(centered(data), 2)])


def duality_cosines(data):
    return np.array([cosine(w, m) for w, m in zip(data.W, centered(data), strict=True)])


def simplex(K):
    return (np.eye(K) - np.ones((K, K)) / K) / np.sqrt(K - 1)


def unit(A):
    return A / np.linalg.norm(A)


def singular_values(A):
    return np.linalg.svd(A, compute_uv=False)


def nearest_means(data):
    """For each sample, the row of the class mean nearest to it."""
    M = means(data)
    return np.array([np.argmin([np.sum((m - h) ** 2) for m in M]) for h in data.H])


def per_class(data):
    M, nearest = means(data), classes(data)[nearest_means(data)]
    rows = []
    for c, label in enumerate(classes(data)):
        distances = np.array([np.inf if other == c else np.linalg.norm(M[other] - M[c]) for other in range(len(M))])
        alone = len(M) == 1
        rows.append(
            {
                "label": int(label),
                "count": int(counts(data)[c]),
                "variance": class_variances(data)[c],
                "norm": np.linalg.norm(centered(data)[c]),
                "nearest_center_accuracy": np.mean(nearest[data.y == label] == label),
                "nearest_class": None if alone else int(classes(data)[np.argmin(distances)]),
                "nearest_class_distance": None if alone else np.min(distances),
            }
        )
    return rows


@metric
def variability_trace_ratio(data):
    return np.trace(within_class_covariance(data)) / np.trace(between_class_covariance(data))


@metric
def within_class_variability(data):
    inverse = np.linalg.pinv(between_class_covariance(data), rcond=data.tolerance**2, hermitian=True)
    return np.trace(within_class_covariance(data) @ inverse) / len(classes(data))


@metric
def class_distance_normalized_variance(data):
    M, v = means(data), class_variances(data)
    return np.mean([(v[i] + v[j]) / (2 * np.sum((M[i] - M[j]) ** 2)) for i, j in combinations(range(len(M)), 2)])


@metric
def variability_collapse_index(data):
    # In the eigenvectors of Σ_T: the product Σ_T⁺Σ_B loses every digit where the classes have nearly collapsed.
    eigenvalues, V = np.linalg.eigh(within_class_covariance(data) + between_class_covariance(data))
    trace = 0
    for eigenvalue, v in zip(eigenvalues, V.T, strict=True):
        if eigenvalue > 1e-12 * eigenvalues[-1]:
            trace += np.sum(class_weights(data) * (centered(data) @ v) ** 2) / eigenvalue
    return 1 - trace / min(data.H.shape[1], len(classes(data)) - 1)


@metric
def equinorm(data):
    norms = np.linalg.norm(centered(data), axis=1)
    return np.std(norms) / np.mean(norms)


@metric
def equiangularity(data):
    return np.std(cosines(data))


@metric
def maximal_angle(data):
    return np.mean(np.abs(cosines(data) + 1 / (len(classes(data)) - 1)))


@metric
def simplex_etf_distance(data):
    M = centered(data)
    return np.linalg.norm(unit(M @ M.T) - simplex(len(M)))


@metric
def orthogonal_frame_distance(data):
    M = means(data)
    return np.linalg.norm(unit(M @ M.T) - np.eye(len(M)) / np.sqrt(len(M)))


@metric
def mutual_coherence(data):
    return np.max(np.abs(cosines(data)))


@metric
def class_mean_condition_number(data):
    M = means(data)
    s = singular_values(M)
    return np.inf if len(s) < len(M) or s[-1] == 0 else s[0] / s[-1]


@metric
def hyperspherical_energy(data):
    directions = [unit(m) for m in centered(data)]
    return np.mean([np.log(1 / np.linalg.norm(a - b)) for a, b in combinations(directions, 2)])


@metric
def self_duality_distance(data):
    return np.linalg.norm(unit(data.W) - unit(centered(data)))


@metric
def self_duality_structure(data):
    return np.linalg.norm(unit(data.W @ centered(data).T) - simplex(len(data.W)))


@metric
def self_duality_cosine(data):
    return np.mean([1 - cos for cos in duality_cosines(data)])


@metric
def uniform_duality(data):
    return np.mean((duality_cosines(data) - np.mean(duality_cosines(data))) ** 2)


@metric
def nearest_center_mismatch(data):
    b = np.zeros(len(data.W)) if data.b is None else data.b
    picked = np.array([np.argmax(data.W @ h + b) for h in data.H])
    return np.mean(picked != nearest_means(data))


@metric
def nearest_center_accuracy(data):
    return np.mean(classes(data)[nearest_means(data)] == data.y)


@metric
def weight_alignment(data):
    _, s, directions = np.linalg.svd(means(data), full_matrices=False)
    V = directions[s > data.tolerance * s[0]]
    projection = V.T @ V
    return np.linalg.norm(data.W @ (np.eye(len(projection)) - projection)) / np.linalg.norm(data.W)


@metric
def row_alignment(data):
    M = means(data)
    rows = [w for w in data.W if np.linalg.norm(w) > 0]
    away = 0
    for w in rows:
        nearest = unit(M[np.argmax([cosine(w, m) for m in M])])
        away += np.linalg.norm(w - (w @ nearest) * nearest)  # ‖w‖ sin θ
    return away / sum(np.linalg.norm(w) for w in rows)


@metric
def balancedness(data):
    difference = data.W_next.T @ data.W_next - data.W @ data.W.T
    return np.linalg.norm(difference) / (np.linalg.norm(data.W) * np.linalg.norm(data.W_next))


@metric
def bias_collapse(data):
    return np.linalg.norm(data.b + data.W @ global_mean(data))


@metric
def low_rank_gap(data):
    return len(classes(data)) - rank(singular_values(means(data)), data.tolerance)


@metric
def out_of_distribution_orthogonality(data):
    return np.mean([abs(cosine(m, data.ood.mean(axis=0))) for m in means(data)])


def rank(s, tolerance):
    return np.sum(s > tolerance * s[0])


def stable_rank(s, tolerance):
    return np.sum(s**2) / s[0] ** 2


def effective_rank(s, tolerance):
    p = s[s > 0] / np.sum(s)
    return np.exp(-np.sum(p * np.log(p)))


def participation_ratio(s, tolerance):
    return np.sum(s**2) ** 2 / np.sum(s**4)


def nuclear_rank(s, tolerance):
    return np.sum(s) ** 2 / np.sum(s**2)


def rankme(s, tolerance):
    p = s / np.sum(s) + 1e-7
    return np.exp(-np.sum(p * np.log(p)))


def of_spectrum(matrix, measure):
    return lambda data: measure(singular_values(matrix(data)), data.tolerance)


MATRICES = {
    "class_mean": means,
    "centered_class_mean": centered,
    "feature": lambda data: data.H,
    "weight": lambda data: data.W,
}
for what, matrix in MATRICES.items():
    for measure in (rank, stable_rank, effective_rank, participation_ratio, nuclear_rank, rankme):
        name = f"{what}_{measure.__name__}"
        METRICS.append(name)
        globals()[name] = of_spectrum(matrix, measure)

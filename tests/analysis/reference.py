"""Every metric a second time: from its formula, in float64 numpy, with loops and full matrices, as slow as it may be.

A function has the metric's name and takes features H (N, d), labels y (N,), classifier W (K, d) and the tolerance.
"""

from itertools import combinations

import numpy as np


def split(H, y):
    return [H[y == label] for label in np.unique(y)]


def means(H, y):
    return np.stack([samples.mean(axis=0) for samples in split(H, y)])


def centered(H, y):
    M = means(H, y)
    return M - M.mean(axis=0)


def within_class_covariance(H, y):
    residuals = [samples - samples.mean(axis=0) for samples in split(H, y)]
    return sum(R.T @ R for R in residuals) / len(y)


def between_class_covariance(H, y):
    return centered(H, y).T @ centered(H, y) / len(np.unique(y))


def cosines(H, y):
    return np.array([a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in combinations(centered(H, y), 2)])


def simplex(K):
    return (np.eye(K) - np.ones((K, K)) / K) / np.sqrt(K - 1)


def unit(A):
    return A / np.linalg.norm(A)


def singular_values(H, y):
    return np.linalg.svd(means(H, y), compute_uv=False)


def variability_trace_ratio(H, y, W, tolerance):
    return np.trace(within_class_covariance(H, y)) / np.trace(between_class_covariance(H, y))


def within_class_variability(H, y, W, tolerance):
    K = len(np.unique(y))
    inverse = np.linalg.pinv(between_class_covariance(H, y), rcond=tolerance**2, hermitian=True)
    return np.trace(within_class_covariance(H, y) @ inverse) / K


def class_distance_normalized_variance(H, y, W, tolerance):
    M = means(H, y)
    v = [np.mean(np.sum((samples - samples.mean(axis=0)) ** 2, axis=1)) for samples in split(H, y)]
    return np.mean([(v[i] + v[j]) / (2 * np.sum((M[i] - M[j]) ** 2)) for i, j in combinations(range(len(M)), 2)])


def equinorm(H, y, W, tolerance):
    norms = np.linalg.norm(centered(H, y), axis=1)
    return np.std(norms) / np.mean(norms)


def equiangularity(H, y, W, tolerance):
    return np.std(cosines(H, y))


def maximal_angle(H, y, W, tolerance):
    K = len(np.unique(y))
    return np.mean(np.abs(cosines(H, y) + 1 / (K - 1)))


def simplex_etf_distance(H, y, W, tolerance):
    M = centered(H, y)
    return np.linalg.norm(unit(M @ M.T) - simplex(len(M)))


def orthogonal_frame_distance(H, y, W, tolerance):
    M = means(H, y)
    return np.linalg.norm(unit(M @ M.T) - np.eye(len(M)) / np.sqrt(len(M)))


def mutual_coherence(H, y, W, tolerance):
    return np.max(np.abs(cosines(H, y)))


def nearest_center_accuracy(H, y, W, tolerance):
    M, classes = means(H, y), np.unique(y)
    return np.mean([classes[np.argmin(np.sum((M - h) ** 2, axis=1))] == label for h, label in zip(H, y, strict=True)])


def self_duality_distance(H, y, W, tolerance):
    return np.linalg.norm(unit(W) - unit(centered(H, y)))


def self_duality_structure(H, y, W, tolerance):
    return np.linalg.norm(unit(W @ centered(H, y).T) - simplex(len(W)))


def class_mean_rank(H, y, W, tolerance):
    s = singular_values(H, y)
    return np.sum(s > tolerance * s[0])


def class_mean_stable_rank(H, y, W, tolerance):
    s = singular_values(H, y)
    return np.sum(s**2) / s[0] ** 2


def class_mean_effective_rank(H, y, W, tolerance):
    p = singular_values(H, y) / np.sum(singular_values(H, y))
    p = p[p > 0]
    return np.exp(-np.sum(p * np.log(p)))


def class_mean_participation_ratio(H, y, W, tolerance):
    s = singular_values(H, y)
    return np.sum(s**2) ** 2 / np.sum(s**4)

"""The ladder of surrogates: data that share some statistics with the training rows and are Gaussian otherwise.

Each rung splits the rows into groups, classes or several clusters of each class. A surrogate keeps the mean of every
group and the variance or covariance that the rung claims, exactly. Given these, rows of Gaussian groups are as likely
as their surrogate, so that a difference of the two in SGD is due to other statistics.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from ..inputs import ClusterMixture
from ..resources import one_thread

MOST_CLUSTERS, COMPONENTS, ROWS = 5, 20, 5
"""The most clusters of a class; the most principal components they are found in; rows for each component, at least."""

RIDGE = 1e-6
"""Part of the mean variance that is added to all variances of a law, which must be positive."""


@dataclass(frozen=True)
class Rung:
    """What a surrogate keeps of the training rows, with ``kind`` the covariance around the means of the groups."""

    name: str
    rows: Float[ndarray, "row N"]
    group: Int[ndarray, "row"]
    labels: Int[ndarray, "group"]
    """The class of each group."""
    kind: Literal["isotropic", "pooled", "own"]

    @cached_property
    def means(self) -> Float[ndarray, "group N"]:
        """The mean of each group."""
        return np.array([self.rows[self.group == g].mean(0) for g in range(len(self.labels))])

    @cached_property
    def shrunk(self) -> list[int]:
        """Groups with fewer samples than columns, whose covariances are shrunk (Ledoit & Wolf 2004)."""
        few = np.bincount(self.group) <= self.rows.shape[1]
        return np.flatnonzero(few).tolist() if self.kind == "own" else []

    @cached_property
    def roots(self) -> list[Float[ndarray, "rank N"]]:
        """A with the covariance AᵀA: one for all groups, or one for each."""
        centred = self.rows - self.means[self.group]
        if self.kind == "isotropic":
            return [np.sqrt(np.mean(centred**2)) * np.eye(self.rows.shape[1])]
        if self.kind == "pooled":
            return [_root(centred)]
        return [
            _shrunk_root(centred[self.group == g]) if g in self.shrunk else _root(centred[self.group == g])
            for g in range(len(self.labels))
        ]

    @cached_property
    def law(self) -> ClusterMixture:
        """The mixture of Gaussian groups, for theory."""
        weights, N = np.bincount(self.group) / len(self.group), self.rows.shape[1]
        covariances = np.array([root.T @ root for root in self.roots])
        covariances += RIDGE * np.trace(covariances, axis1=1, axis2=2)[:, None, None] / N * np.eye(N)
        return ClusterMixture(self.means, np.broadcast_to(covariances, (len(weights), N, N)), weights=weights)

    def surrogate(self, rng: np.random.Generator) -> Float[ndarray, "row N"]:
        """Rows of the same groups, with the statistics of this rung and no others."""
        z = rng.standard_normal(self.rows.shape)
        parts = [self.group == g for g in range(len(self.labels))]
        for part in parts:
            z[part] -= z[part].mean(0)
        if self.kind == "isotropic":
            return self.means[self.group] + z / np.sqrt(np.mean(z**2)) * self.roots[0][0, 0]
        if self.kind == "pooled":
            return self.means[self.group] + _orthonormal(z) @ self.roots[0]
        for g, (part, root) in enumerate(zip(parts, self.roots, strict=True)):
            z[part] = (z[part] if g in self.shrunk else _orthonormal(z[part])) @ root
        return self.means[self.group] + z

    def fresh(self, rng: np.random.Generator, count: int) -> tuple[Float[ndarray, "count N"], Int[ndarray, "count"]]:
        """Samples of the law, and their groups."""
        group = rng.choice(self.group, count)
        z = rng.standard_normal((count, self.rows.shape[1]))
        for g in range(len(self.labels)):
            root = self.roots[g if self.kind == "own" else 0]
            z[group == g] = z[group == g][:, : len(root)] @ root
        return z + self.means[group], group


def _root(centred: Float[ndarray, "row N"]) -> Float[ndarray, "rank N"]:
    with one_thread():
        return np.linalg.qr(centred, mode="r") / np.sqrt(len(centred))


def _shrunk_root(centred: Float[ndarray, "row N"]) -> Float[ndarray, "N N"]:
    from sklearn.covariance import ledoit_wolf

    return np.linalg.cholesky(ledoit_wolf(centred, assume_centered=True)[0]).T


def _orthonormal(z: Float[ndarray, "row N"]) -> Float[ndarray, "row rank"]:
    """Columns of the same span with zᵀz = n."""
    with one_thread():
        return np.linalg.qr(z).Q * np.sqrt(len(z))


def ladder(rows: Float[ndarray, "row N"], classes: Int[ndarray, "row"], seed: int) -> list[Rung]:
    """The rungs: means; + the pooled covariance; + that of each class; several clusters of a class if there are."""
    same = np.arange(classes.max() + 1)
    rungs = [
        Rung("means", rows, classes, same, "isotropic"),
        Rung("pooled covariance", rows, classes, same, "pooled"),
        Rung("class covariances", rows, classes, same, "own"),
    ]
    group, labels = np.zeros_like(classes), []
    rng = np.random.default_rng(seed)
    for number in same:
        part = classes == number
        group[part] = len(labels) + _clusters(rows[part], seed, rng)
        labels += [number] * (1 + int(group[part].max()) - len(labels))
    if len(labels) > len(same):
        rungs.append(Rung("clusters", rows, group, np.array(labels), "own"))
    return rungs


def _clusters(rows: Float[ndarray, "row N"], seed: int, rng: np.random.Generator) -> Int[ndarray, "row"]:
    """A cluster for each row of a class, drawn by its probabilities; their number has the least BIC.

    Clusters are found among the leading principal components of the class.
    """
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    count = min(COMPONENTS, rows.shape[1], len(rows) // (2 * ROWS))
    if count < 1:
        return np.zeros(len(rows), int)
    scores = PCA(count, random_state=seed).fit_transform(rows)
    scores = scores / scores[:, 0].std()
    best, least = np.zeros(len(rows), int), np.inf
    for number in range(1, MOST_CLUSTERS + 1):
        fitted = GaussianMixture(number, random_state=seed, reg_covar=1e-3).fit(scores)
        chosen = (fitted.predict_proba(scores).cumsum(1) > rng.random((len(rows), 1))).argmax(1)
        criterion = fitted.bic(scores)
        if criterion < least and np.bincount(chosen, minlength=number).min() >= ROWS:
            best, least = chosen, criterion
    return best

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
from numpy.random import Generator

from ..inputs import ClusterMixture
from ..resources import one_thread

MOST_CLUSTERS, COMPONENTS, ROWS = 5, 20, 5
"""The most clusters of a class; the most principal components they are found in; rows for each component, at least."""

RIDGE = 1e-6
"""Part of the mean variance that is added to all variances of a law, which must be positive."""

Rows = Float[ndarray, "row N"]
Groups = Int[ndarray, "row"]
Kind = Literal["isotropic", "pooled", "own"]


@dataclass(frozen=True)
class Rung:
    """What a surrogate keeps of the training rows, with ``kind`` the covariance around the means of the groups."""

    name: str
    rows: Rows
    group: Groups
    labels: Int[ndarray, "group"]
    """The class of each group."""
    kind: Kind

    @cached_property
    def parts(self) -> list[Groups]:
        """The places of the rows of each group."""
        return [np.flatnonzero(self.group == g) for g in range(len(self.labels))]

    @cached_property
    def means(self) -> Float[ndarray, "group N"]:
        """The mean of each group."""
        return np.array([self.rows[part].mean(0) for part in self.parts])

    @cached_property
    def shrunk(self) -> list[int]:
        """Groups with no more samples than columns, whose covariances are shrunk (Ledoit & Wolf 2004)."""
        few = [g for g, part in enumerate(self.parts) if len(part) <= self.rows.shape[1]]
        return few if self.kind == "own" else []

    @cached_property
    def roots(self) -> list[Float[ndarray, "rank N"]]:
        """A with the covariance AᵀA of each group, one array for all where they share it."""
        centred = self.rows - self.means[self.group]
        if self.kind == "isotropic":
            return [np.sqrt(np.mean(centred**2)) * np.eye(centred.shape[1])] * len(self.labels)
        if self.kind == "pooled":
            return [_root(centred)] * len(self.labels)
        return [(_shrunk_root if g in self.shrunk else _root)(centred[part]) for g, part in enumerate(self.parts)]

    @cached_property
    def law(self) -> ClusterMixture:
        """The mixture of Gaussian groups, for theory."""
        covariances = np.array([root.T @ root for root in self.roots])
        sizes = np.trace(covariances, axis1=1, axis2=2)[:, None, None]
        covariances += RIDGE * sizes / self.rows.shape[1] * np.eye(self.rows.shape[1])
        return ClusterMixture(self.means, covariances, weights=np.bincount(self.group) / len(self.group))

    def surrogate(self, rng: Generator) -> Rows:
        """Rows of the same groups, with the statistics of this rung and no others."""
        z = rng.standard_normal(self.rows.shape)
        for part in self.parts:
            z[part] -= z[part].mean(0)
        if self.kind == "isotropic":
            z /= np.sqrt(np.mean(z**2))
        elif self.kind == "pooled":
            z = _orthonormal(z)
        for g, (part, root) in enumerate(zip(self.parts, self.roots, strict=True)):
            own = self.kind == "own" and g not in self.shrunk
            z[part] = (_orthonormal(z[part]) if own else z[part]) @ root
        return self.means[self.group] + z

    def fresh(self, rng: Generator, count: int) -> tuple[Float[ndarray, "count N"], Int[ndarray, "count"]]:
        """Samples of the law, and their groups."""
        group = rng.choice(self.group, count)
        z = [rng.standard_normal(len(self.roots[g])) @ self.roots[g] for g in group]
        return self.means[group] + z, group


def _root(centred: Rows) -> Float[ndarray, "rank N"]:
    with one_thread():
        return np.linalg.qr(centred, mode="r") / np.sqrt(len(centred))


def _shrunk_root(centred: Rows) -> Float[ndarray, "N N"]:
    from sklearn.covariance import ledoit_wolf

    return np.linalg.cholesky(ledoit_wolf(centred, assume_centered=True)[0]).T


def _orthonormal(z: Rows) -> Rows:
    """Columns of the same span with zᵀz = n."""
    with one_thread():
        return np.linalg.qr(z).Q * np.sqrt(len(z))


def ladder(rows: Rows, classes: Groups, seed: int) -> list[Rung]:
    """The rungs: means; + the pooled covariance; + that of each class; several clusters of a class if there are."""
    same = np.arange(classes.max() + 1)
    kinds: dict[str, Kind] = {"means": "isotropic", "pooled covariance": "pooled", "class covariances": "own"}
    rungs = [Rung(name, rows, classes, same, kind) for name, kind in kinds.items()]
    group, labels, rng = np.zeros_like(classes), [], np.random.default_rng(seed)
    for number, part in enumerate(rungs[0].parts):
        clusters = _clusters(rows[part], seed, rng)
        group[part] = len(labels) + clusters
        labels += [number] * (1 + int(clusters.max()))
    if len(labels) > len(same):
        rungs.append(Rung("clusters", rows, group, np.array(labels), "own"))
    return rungs


def _clusters(rows: Rows, seed: int, rng: Generator) -> Groups:
    """A cluster for each row of a class, drawn by its probabilities; their number has the least BIC.

    Clusters are found among the leading principal components of the class.
    """
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    best, least = np.zeros(len(rows), int), np.inf
    count = min(COMPONENTS, rows.shape[1], len(rows) // (2 * ROWS))
    if not count:
        return best
    scores = PCA(count, random_state=seed).fit_transform(rows)
    scores /= scores[:, 0].std()
    for number in range(1, MOST_CLUSTERS + 1):
        fitted = GaussianMixture(number, random_state=seed, reg_covar=1e-3).fit(scores)
        chosen = (fitted.predict_proba(scores).cumsum(1) > rng.random((len(rows), 1))).argmax(1)
        criterion = fitted.bic(scores)
        if criterion < least and np.bincount(chosen, minlength=number).min() >= ROWS:
            best, least = chosen, criterion
    return best

"""Permutations of units that leave a start as it is: the equations keep them, and rounding must not break them.

Two students with equal weights stay equal under SGD, bit for bit. In the equations of motion a difference of 1e-16
between them would grow, because they repel each other. So the derivative is averaged over the permutations.
"""

from dataclasses import replace
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..rules import Averages
from ._equations import Case, State

EQUAL = 1e-12
"""Entries that differ by less than this part of the largest are equal up to rounding."""

SMALL = 1e-4
"""Share of a teacher's weights that is added to a student's, to test a symmetric start."""


class Symmetry(NamedTuple):
    """Matrices that average the entries of q, r and the head over the permutations of units.

    The matrix of r is 0 where students never gain any overlap with the teachers.
    """

    q: Float[ndarray, "KK KK"]
    r: Float[ndarray, "KM KM"]
    head: dict[str, Any]

    def average(self, state: State) -> State:
        """A state, or its derivative, with equal numbers for all entries that permutations exchange."""

        means = dict.fromkeys("qQcs", self.q) | dict.fromkeys("rRu", self.r) | dict.fromkeys(("head", "V"), self.head)

        def over(mean: Any, entries: Any) -> Any:
            if isinstance(entries, dict):
                return {name: over(mean[name], each) for name, each in entries.items()}
            return (mean @ entries.reshape(len(mean), -1)).reshape(entries.shape)

        def averaged(named: dict[str, Any]) -> dict[str, Any]:
            return {name: over(means[name], each) if name in means else each for name, each in named.items()}

        return State(**averaged(state._asdict()))._replace(more=averaged(state.more))


def symmetry_of(case: Case, averages: Averages) -> Symmetry | None:
    """The symmetry of a start under exchanges of two students, of two teachers, or both; None if there is none.

    Units are also equal where one may take the other's place: then q_kk, q_kl and q_ll are one number.
    """
    spectrum, head = case.spectrum, {name: np.asarray(value) for name, value in case.head.items()}
    K, M = spectrum.overlap.shape[1:]
    R, T = spectrum.R, spectrum.teacher_overlap
    q, r, p = spectrum.student, spectrum.overlap, spectrum.teacher
    turn = T if case.rates.drift is None else case.rates.drift[1]

    def places(s, t):
        """Where the head's entries go if the permutation leaves everything as it is, else None."""
        students, both, teachers = (s[:, None], s), (s[:, None], t), (t[:, None], t)
        # The small and telling arrays first.
        start = (R, both), (T, teachers), (turn, teachers), (r, both), (q, students), (p, teachers)
        if all(_alike(x, x[..., *units]) for x, units in start):
            found = averages.permuted(case, s, t)
            if found and all(_alike(head[name], head[name].ravel()[found[name]]) for name in head):
                return found
        return None

    students, teachers = _exchanges(K), _exchanges(M)
    tried = [*product(students, teachers)][1:]
    if case.rates.keep is None:  # masks of their own tell equal units apart
        tried += [(np.minimum(students[0], s), teachers[0]) for s in students[1:]]  # both as the first
    tried += [(students[0], np.minimum(teachers[0], t)) for t in teachers[1:]]
    found = [(s, t, where) for s, t in tried if (where := places(s, t)) is not None]
    apart = r.size > 0 and not r.any() and averages.keeps_apart(case, K, M)
    if apart:  # what stays as it is
        found.append((students[0], teachers[0], {name: np.arange(x.size).reshape(x.shape) for name, x in head.items()}))
    if not found:
        return None
    heads = {name: _means([where[name] for *_, where in found]) for name in head}
    q_mean = _means([K * s[:, None] + s for s, *_ in found])
    return Symmetry(q_mean, _means([M * s[:, None] + t for s, t, _ in found]) * (not apart), heads)


def asymmetric(case: Case) -> Case:
    """The case with a little of the teachers' weights added to the students', equally where students are equal.

    SGD keeps students equal whose weights are.
    """
    spectrum = case.spectrum
    K, M = spectrum.overlap.shape[1:]
    added = SMALL * np.random.default_rng(0).standard_normal((K, M))
    for first, second in combinations(range(K), 2):
        pair = spectrum.student[:, [first, first, second], [first, second, second]]
        if _alike(pair, pair[:, [1, 1, 1]]):
            added[second] = added[first]
    mixing = np.block([[np.eye(K), added], [np.zeros((M, K)), np.eye(M)]])
    products = mixing @ spectrum.products @ mixing.T
    student, overlap = products[:, :K, :K], products[:, :K, K:]
    return case._replace(spectrum=replace(spectrum, student=student, overlap=overlap))


def _alike(one: ndarray, other: ndarray) -> bool:
    return bool(abs(one - other).max() <= EQUAL * abs(one).max())


def _exchanges(count: int) -> list[ndarray]:
    """The identity and every exchange of two."""
    every = [np.arange(count)]
    for i, j in combinations(range(count), 2):
        every.append(every[0].copy())
        every[-1][[i, j]] = j, i
    return every


def _means(ends: list[ndarray]) -> Float[ndarray, "n n"]:
    """Averages over all places that the permutations connect, of which each gives where the entries in order go."""
    n, count = ends[0].size, len(ends)
    links = coo_array((np.ones(count * n), (np.tile(np.arange(n), count), np.ravel(ends))), (n, n))
    _, label = connected_components(links)
    same = (label[:, None] == label).astype(float)
    return same / same.sum(axis=1, keepdims=True)

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
"""How much of a teacher's weights is added to a student's where a symmetric start is tried."""


class Symmetry(NamedTuple):
    """Matrices that average the entries of q, r and the head over the permutations of units.

    That of r is 0 where students never get any overlap with the teachers.
    """

    q: Float[ndarray, "KK KK"]
    r: Float[ndarray, "KM KM"]
    head: dict[str, Any]

    def average(self, state: State) -> State:
        """A state, or its derivative, with equal numbers wherever a permutation asks for it."""

        def over(mean: Any, entries: Any) -> Any:
            return (mean @ entries.reshape(len(mean), -1)).reshape(entries.shape)

        def heads(head: Any) -> Any:
            return {name: over(self.head[name], entries) for name, entries in head.items()}

        more = dict(state.more)
        for name, mean in (("c", self.q), ("s", self.q), ("u", self.r)):
            if name in more:
                more[name] = over(mean, more[name])
        if "V" in more:
            more["V"] = heads(more["V"])
        q, r, Q, R, head, error, _ = state
        return State(over(self.q, q), over(self.r, r), over(self.q, Q), over(self.r, R), heads(head), error, more)


def symmetry_of(case: Case, averages: Averages) -> Symmetry | None:
    """The symmetry of a start under exchanges of two students, of two teachers, or both; None if there is none.

    Units are also equal where one may take the other's place: then q_kk, q_kl and q_ll are one number.
    """
    spectrum, head = case.spectrum, {name: np.asarray(value) for name, value in case.head.items()}
    K, M = spectrum.overlap.shape[1:]
    R, T = spectrum.R, spectrum.teacher_overlap
    q, r, p = spectrum.student, spectrum.overlap, spectrum.teacher

    def moved(s, t):
        """What a start consists of, and the same with other units; the small and telling arrays first."""
        yield R, R[s][:, t]
        yield T, T[t][:, t]
        if case.rates.drift is not None:
            turn = case.rates.drift[1]
            yield turn, turn[t][:, t]
        yield r, r[:, s][:, :, t]
        yield q, q[:, s][:, :, s]
        yield p, p[:, t][:, :, t]

    def places(s, t):
        """Where the head's entries go if the permutation leaves everything as it is, else None."""
        if all(_alike(one, other) for one, other in moved(s, t)):
            found = averages.permuted(case, s, t)
            if found and all(_alike(head[name], head[name].ravel()[found[name]]) for name in head):
                return found
        return None

    students, teachers = _exchanges(K), _exchanges(M)
    tried = [*product(students, teachers)][1:]
    if case.rates.keep is None:  # masks of their own tell equal units apart
        tried += [(s, teachers[0]) for s in _copies(students)]
    tried += [(students[0], t) for t in _copies(teachers)]
    found = [(s, t, where) for s, t in tried if (where := places(s, t)) is not None]
    apart = r.size > 0 and not r.any() and averages.keeps_apart(case, K, M)
    if apart:  # what stays as it is
        found.append((students[0], teachers[0], {name: np.arange(x.size).reshape(x.shape) for name, x in head.items()}))
    if not found:
        return None
    each = np.arange(K * K).reshape(K, K), np.arange(K * M).reshape(K, M)
    q_ends, r_ends = zip(*((each[0][s][:, s], each[1][s][:, t]) for s, t, _ in found), strict=True)
    heads = {name: _means(np.arange(value.size), [where[name] for *_, where in found]) for name, value in head.items()}
    return Symmetry(_means(each[0], q_ends), _means(each[1], r_ends) * (not apart), heads)


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
    every = [np.arange(count) for _ in range(1 + count * (count - 1) // 2)]
    for order, (i, j) in zip(every[1:], combinations(range(count), 2), strict=True):
        order[[i, j]] = j, i
    return every


def _copies(exchanges: list[ndarray]) -> list[ndarray]:
    """For every exchange of two, the map of both to the first."""
    return [np.minimum(exchanges[0], order) for order in exchanges[1:]]


def _means(start: ndarray, ends: Any) -> Float[ndarray, "n n"]:
    """Averages over all places that the permutations connect."""
    n, ends = start.size, np.concatenate([end.ravel() for end in ends])
    links = coo_array((np.ones(len(ends)), (np.resize(start, len(ends)), ends)), (n, n))
    _, label = connected_components(links)
    same = (label[:, None] == label).astype(float)
    return same / same.sum(axis=1, keepdims=True)

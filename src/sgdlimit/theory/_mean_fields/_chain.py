"""One program for the theory of clusters: chains of mean fields, and the order parameters that they drive.

**Fast.** The mean fields M_k^i = W_k·a^i/√N take a step with each step of SGD. It draws a cluster i and the fields
around their means, λ_k = M_k^i + λ̄_k and ν_m = n_m^i + ν̄_m with (λ̄, ν̄) ~ N(0, S^i), and moves

    M_k^j ← M_k^j − η δ_k A_ij,    A_ij = a^i·a^j/N,

by as much as M itself, for |a|² is of order N; δ is the rule's. With momentum, so does the sum of past gradients.

**Slow.** The weights Γ = W/√N move by what the chain has pushed them along the means of the inputs, and by averages
over the fields within each cluster, [H A] = p_i E_i[δ (λ̄, ν̄)] S⁻¹ and G = p_i E_i[δ δᵀ], along the chain:

    dΓ_k = −η Σ_i [Σ_l H^i_kl V_i Γ_l + Σ_m A^i_km φ^i_m] dt + η Σ_i (V_i ⊗ G^i)^(1/2) dB^i/√N + Σ_i a^i dy_ki/N

for a covariance V_i = diag(diagonal) + factorᵀ factor of each kind of clusters. Where all share one, Γ is given on the
nodes of a Gauss rule of its spectrum, V is diagonal, and what the noise makes of nothing is a density q of its own on
further nodes. Otherwise Γ are the weights themselves, and the noise is drawn.

The code is that of one chain; many chains run side by side.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, Float, Float32, Int

from ...rules import Rule
from ...training import Rates
from .._averages import SMALLEST, lower_root, single, times_inverse

Numbers = Array | np.ndarray

STATES = 16
"""States of the chain at which averages are taken, for each step of the slow variables."""

POINTS = 8
"""Points for a cluster and a state, half of them opposite to the others. Few at many states tell more than many at few.

Points that stay the same bias the averages: every step takes another part of a Sobol sequence, and reflects it anew.
"""

NATIVE = {"inlineable": "false", "xla_cpu_small_call": "true"}
"""Compile what is called into one function."""

UNROLLED = 16
"""The most terms of a sum that are written out."""


@dataclass(frozen=True)
class Setting:
    """What the program is compiled for."""

    rule: Rule = field(compare=False, repr=False)
    digest: str
    """Stands for the rule."""
    plain: bool
    """Whether the rule is that of a network with a known activation."""
    batch: int
    """Samples of a step of SGD."""
    most: int
    """The most steps of SGD in one step of the slow variables."""
    momentum: bool
    drawn: bool
    """Whether the noise of the weights is drawn."""
    blocks: int
    """Blocks of coordinates that each choose one of as many clusters."""


class Law(NamedTuple):
    """What the inputs and the teacher fix; c clusters of some kinds, n = K + M fields, Γ on x coordinates or nodes."""

    weights: Float[Numbers, "c"]
    thresholds: Float32[Numbers, "below"]
    """A cluster is the number of these that a normal exceeds, in each block."""
    kind: Int[Numbers, "c"]
    overlap: Float32[Numbers, "c c"]
    """A."""
    teacher_mean: Float32[Numbers, "c M"]
    """n."""
    diagonal: Float[Numbers, "kind x"]
    factor: Float32[Numbers, "kind*r x"]
    """Every kind has r rows."""
    factor_T: Float32[Numbers, "x kind*r"]
    """The same, laid out for the other product."""
    cross: Float[Numbers, "kind M x"]
    """φ/√N."""
    teacher_overlap: Float[Numbers, "kind M M"]
    alpha: Float[Numbers, "c x"]
    """a/√N."""
    noise_nodes: Float[Numbers, "2 s"]
    """Eigenvalues and weights of the density."""
    points: Float32[Numbers, "dim point"]
    """Quasi-random normals, for the fields (teachers' first) and the noise of the rule."""
    designs: Float32[Numbers, "c design"]
    """Choices of all blocks for metrics, if there are several."""
    root_size: Any
    """√N."""
    pushed: Any
    """1 if the weights have their part along the means of the inputs, else 0."""


class Member(NamedTuple):
    """The state of a chain. In S the teachers come first."""

    gamma: Float[Numbers, "K x"]
    q: Float[Numbers, "K K s"]
    head: Any
    M: Float[Numbers, "K c"]
    momentum: Any
    """The decaying sum of past δ by clusters, (K, c)."""
    projected: Float32[Numbers, "K kind r"]
    """Γ factorᵀ, in single precision, which the noise of the weights forgives."""
    S: Float[Numbers, "kind n n"]
    before: tuple[Any, Any, Any]
    """Γ, its projections and S one step before."""
    head_slope: Any


class Steps(NamedTuple):
    """Steps of the slow variables: whole numbers of steps of SGD."""

    first: Int[Numbers, "step"]
    """Place of the first sample among the random numbers."""
    length: Int[Numbers, "step"]
    ahead: Float[Numbers, "step"]
    """Half a step over the one before."""
    factor: Float[Numbers, "step"]
    """What the schedule multiplies both rates with."""
    time: Float[Numbers, "step"]


class Samples(NamedTuple):
    """What does not wait for the chain. Samples and points come last in arrays, where loops over them vectorise."""

    normals: Float32[Numbers, "dim sample"]
    """Those of the fields, teachers first, and the noise of the rule."""
    cluster: Int[Numbers, "sample"]
    where: Float32[Numbers, "c sample"]
    """1 at the cluster, else 0."""
    overlap: Float32[Numbers, "c sample"]
    """A_ij of the cluster i."""
    target: Any


class Kept(NamedTuple):
    """What is kept after each step."""

    S: Any
    """(..., kind, n, n)."""
    head: Any
    M: Any
    """(..., K, c)."""
    activity: Any
    """The units' parts in Σ_k E[δ_k²], (..., K)."""


class Forces(NamedTuple):
    """Averages along the chain, with the probability of their kind."""

    H: Float[Numbers, "kind K K"]
    A: Float[Numbers, "kind K M"]
    G: Float[Numbers, "kind K K"]
    head: Any


def advance(
    members: Member, normals: Any, noise: Any, steps: Steps, taken: Any, task: Any, law: Law, given: Any, rates: Rates,
    *, setting: Setting,
) -> tuple[Member, Kept]:  # fmt: skip
    """Take some steps of the slow variables in all chains; normals (chain, dim + 1, sample) and noise as needed.

    Of ``steps``, which belong to one task, the first ``taken`` count; the program is one whatever their number.
    """
    extras = {"given": given, "task": task}

    def of_chain(member, normals, noise):
        samples = _samples(setting, law, normals, extras)

        def step(b, carry):
            member, kept = carry
            when = jax.tree.map(lambda x: x[b], steps)
            drawn = jax.tree.map(lambda x: x[b], noise)
            member, G = _step(setting, law, rates, when, member, samples, drawn, extras)
            squares = jnp.einsum("qkk->k", G)
            now = Kept(member.S, member.head, member.M, squares / jnp.maximum(jnp.sum(squares), 1e-300))
            return member, jax.tree.map(lambda all_, one: all_.at[b].set(one), kept, now)

        now = Kept(member.S, member.head, member.M, jnp.zeros(len(member.M)))
        empty = jax.tree.map(lambda x: jnp.full((len(steps.length), *x.shape), jnp.nan), now)
        return lax.fori_loop(0, taken, step, (member, empty))

    return jax.vmap(of_chain)(members, normals, noise)


def begin(gamma: Any, q: Any, head: Any, M: Any, law: Law) -> tuple[Any, ...]:
    """The fields of :class:`Member` for chains that begin."""

    def of_chain(gamma, q, head, M):
        projected = _projected(law, gamma)
        S = _covariances(law, gamma, q, projected)
        zero, still = jnp.zeros(M.shape, jnp.float32), jax.tree.map(jnp.zeros_like, head)
        return Member(gamma, q, head, M, zero, projected, S, (gamma, projected, S), still)

    return tuple(jax.vmap(of_chain)(gamma, q, head, M))


def _projected(law: Law, gamma: Any) -> Float32[Array, "K kind r"]:
    """Γ factorᵀ."""
    return (gamma.astype(jnp.float32) @ law.factor_T).reshape(len(gamma), len(law.diagonal), -1)


def _covariances(law: Law, gamma: Any, q: Any, projected: Any) -> Float[Array, "kind n n"]:
    """S = [[T, Rᵀ], [R, Q]] of each kind."""
    omega, weights = law.noise_nodes
    low_rank = jnp.einsum("kqr,lqr->qkl", projected, projected).astype(float)
    Q = (law.diagonal[:, None] * gamma) @ gamma.T + low_rank + q @ (weights * omega)
    R = gamma @ law.cross.mT
    upper = jnp.concatenate([law.teacher_overlap, R.mT], axis=2)
    return jnp.concatenate([upper, jnp.concatenate([R, (Q + Q.mT) / 2], axis=2)], axis=1)


def _step(
    setting: Setting,
    law: Law,
    rates: Rates,
    when: Steps,
    member: Member,
    samples: Samples,
    noise: Any,
    extras: dict[str, Any],
) -> tuple[Member, Any]:
    """One step of the slow variables: the chain with the order parameters as they are in its middle, then a step.

    What is in the middle is extrapolated from the step before, which makes the error of second order.
    """
    ahead, dt = when.ahead, when.length / law.root_size**2
    now = member.gamma, member.projected, member.S
    middle, projected, S = (
        x + (ahead * (x - before)).astype(x.dtype) for x, before in zip(now, member.before, strict=True)
    )
    head = jax.tree.map(lambda x, slope: x + dt / 2 * slope, member.head, member.head_slope)
    roots = jax.vmap(lower_root)(S)
    eta = rates.learning_rate * when.factor
    numbers = single((head, roots, eta, rates.momentum))
    extras = extras | {"given": single(extras["given"]), "time": single(when.time)}
    with jax.enable_x64(False):  # the user's own constants are in single precision too
        states, momentum, pushes = _walk(setting, law, when, member, samples, numbers, extras)
    beyond = when.first + setting.batch * when.length  # samples that the chain has not seen
    chance = lax.dynamic_slice_in_dim(samples.normals, beyond, 2, axis=1).T
    designs = lax.dynamic_slice_in_dim(samples.where, beyond, STATES * POINTS, axis=1)
    forces = _averages(setting, law, chance, designs, states[:-1], numbers[0], roots, extras)

    factor = when.factor / (1 - rates.momentum)
    eta = rates.learning_rate * factor
    drift = jnp.einsum("qkl,qlx->kx", forces.H, law.diagonal[:, None] * middle)
    drift += jnp.einsum("qkm,qmx->kx", forces.A, law.cross) + rates.weight_decay * member.gamma
    gamma = member.gamma - eta * dt * drift
    gamma += law.pushed * (pushes.astype(float) @ law.alpha) / law.root_size
    low_rank, q = jnp.einsum("qkl,lqr->kqr", single(-eta * dt * forces.H), projected), member.q
    if setting.drawn:
        x = noise.shape[-1] - low_rank.shape[-1]  # none if nothing is diagonal
        spread = eta * jnp.sqrt(dt / rates.batch_size) / law.root_size * jax.vmap(lower_root)(jnp.asarray(forces.G))
        if x:
            gamma += jnp.einsum("qkl,qlx->kx", spread, jnp.sqrt(law.diagonal)[:, None] * noise[..., :x])
        low_rank += jnp.einsum("qkl,qlr->kqr", single(spread), noise[..., x:])
    else:
        q = _spread(law, rates, eta, dt, forces, q)
    gamma += (low_rank.reshape(len(gamma), -1) @ law.factor).astype(float)
    after = _projected(law, gamma)
    slope = jax.tree.map(lambda change: -rates.output_rate * factor * change, forces.head)
    moved = Member(
        gamma,
        q,
        jax.tree.map(lambda x, slope: x + dt * slope, member.head, slope),
        jnp.where(law.pushed > 0, law.root_size * gamma @ law.alpha.T, states[-1].astype(float)),
        momentum,
        after,
        _covariances(law, gamma, q, after),
        now,
        slope,
    )
    return moved, forces.G


def _samples(setting: Setting, law: Law, normals: Any, extras: dict[str, Any]) -> Samples:
    """Clusters and targets: the teacher's fields depend on nothing that moves."""
    rule, M, each = setting.rule, law.teacher_mean.shape[1], len(law.weights) // setting.blocks
    z, chosen = normals[: len(law.points)], normals[len(law.points) :]
    clusters = jnp.sum(chosen[:, None] > law.thresholds[:, None], axis=1, dtype=np.int32)
    where = (clusters[:, None] == np.arange(each)[:, None]).reshape(len(law.weights), -1).astype(jnp.float32)
    cluster, fields = clusters[0], _product(law.teacher_mean.T, where)
    if M:
        roots = single(jax.vmap(lower_root)(jnp.asarray(law.teacher_overlap)))
        fields += _of_kind(law, cluster, [_product(root, z[:M]) for root in roots])
    noise, extras = z[len(z) - rule.noise :], extras | {"given": single(extras["given"])}
    with jax.enable_x64(False):
        label = jax.vmap(lambda x, i, noise: rule.target(x, cluster=i, noise=noise, **extras), -1, -1)
        target = label(fields, cluster, noise)
    return Samples(z, cluster, where, _product(law.overlap, where), target)


def _product(A: Any, x: Any) -> Any:
    """A x for small A and many x, one after the other along the last axis.

    Written out, because loops take a fraction of the time that calls for tiny matrices do.
    """
    if len(x) > UNROLLED:
        return A @ x
    return sum((A[:, b, None] * x[b] for b in range(len(x))), jnp.zeros((len(A), *x.shape[1:]), x.dtype))


def _of_kind(law: Law, cluster: Any, values: Any) -> Any:
    """Of values for each kind, (n, sample), those of each sample's own."""
    own = law.kind[cluster] if len(values) > 1 else 0
    return sum((jnp.where(own == kind, value, 0) for kind, value in enumerate(values)), jnp.zeros_like(values[0]))


def _walk(
    setting: Setting,
    law: Law,
    when: Steps,
    member: Member,
    samples: Samples,
    numbers: Any,
    extras: dict[str, Any],
) -> tuple[Any, ...]:
    """The chain: some of its states and the last one, its momentum, and −η Σ δ by clusters, y.

    M moves by y A. It is y that the loop carries.
    """
    head, roots, eta, beta = numbers
    rule, size, batch, n = setting.rule, setting.most * setting.batch, setting.batch, roots.shape[1]
    mean_fields = member.M.astype(jnp.float32)
    own = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, when.first, size, axis=-1), samples)
    fields = [_product(root[n - len(mean_fields) :], own.normals[:n]) for root in roots]
    around = _of_kind(law, own.cluster, fields) + _product(mean_fields, own.where)
    each = own.where, own.overlap, around, own.target, own.normals[n:]

    def gradient(pushes, s, each):
        where, row, around, target, noise = jax.tree.map(lambda x: x[..., s], each)
        delta, _ = rule.learn(jnp.sum(pushes * row, axis=1) + around, target, head, noise=noise, **extras)
        return delta[:, None] * where

    def step(s, carry, each):
        pushes, *momentum = carry
        if batch == 1:
            push = gradient(pushes, s, each)
        else:
            places = s * batch + np.arange(batch, dtype=np.int32)
            push = jnp.mean(jax.vmap(gradient, (None, 0, None))(pushes, places, each), axis=0)
        if setting.momentum:
            push = beta * momentum[0] + push
            momentum = [push]
        return pushes - eta * push, *momentum

    def segment(carry, bounds, each):
        carry = lax.fori_loop(bounds[0], bounds[1], partial(step, each=each), carry)
        return carry, carry[0]

    middles = (2 * np.arange(STATES, dtype=np.int32) + 1) * when.length // (2 * STATES)
    lower, upper = jnp.append(0, middles), jnp.append(middles, when.length)
    first = jnp.zeros_like(mean_fields), *([member.momentum] if setting.momentum else [])

    def walk(first, bounds, each):
        return lax.scan(partial(segment, each=each), first, bounds)

    # One loop in machine code: XLA would run each operation of each step for itself, which takes ten times as long.
    # It gives up at some operations (matrix products, sorting), so those who bring their own functions wait.
    with set_xla_metadata(**(NATIVE if setting.plain else {})):
        (pushes, *momentum), states = jax.jit(walk)(first, (lower, upper), each)
    return mean_fields + states @ law.overlap, (momentum or [member.momentum])[0], pushes


def _averages(
    setting: Setting, law: Law, chance: Any, designs: Any, states: Any, head: Any, roots: Any, extras: dict[str, Any]
) -> Forces:
    """Averages over the fields in every cluster at some states of the chain (state, K, c).

    ``chance`` (2, dim) are normals that choose the points, ``designs`` (c, point) choices of all blocks.
    """
    count = STATES * POINTS // 2
    chosen = (jnp.abs(chance[0, 0]) * 1e6).astype(int)
    z = lax.dynamic_slice_in_dim(law.points, chosen % (law.points.shape[1] // count) * count, count, axis=1)
    # A state sees any of them: those at one place in each part of a scrambled sequence lie near each other.
    z = lax.dynamic_slice_in_dim(jnp.concatenate([z, z], axis=1), chosen % 997 % count, count, axis=1)
    z = z - 2 * chance[1][:, None] * (_product(chance[1][None], z) / (chance[1] @ chance[1]))
    z = jnp.concatenate([z, -z], axis=1)
    means = jnp.moveaxis(jnp.concatenate([states] * POINTS), 0, 2)  # (K, c, point), every state at some of them
    clusters = clusters_of(law, setting.blocks, designs)
    means = jnp.swapaxes(means, 0, 1) if setting.blocks == 1 else jnp.sum(means * designs, axis=1)[None]
    return averages_around(setting.rule, clusters, roots, means, z, head, extras)[0]


class Clusters(NamedTuple):
    """Clusters to average over; of many blocks one, in which the points have other means."""

    weights: Any
    kind: Any
    teacher_mean: Any
    """(cluster, M, point or 1)."""


def clusters_of(law: Law, blocks: int, designs: Any) -> Clusters:
    """All clusters, or one in which every point has the choices of all blocks, (c, point)."""
    if blocks == 1:
        return Clusters(law.weights, law.kind, law.teacher_mean[:, :, None])
    return Clusters(jnp.ones(1), np.zeros(1, int), _product(law.teacher_mean.T, designs)[None])


def averages_around(
    rule: Rule, law: Clusters, roots: Any, means: Any, z: Any, head: Any, extras: dict[str, Any]
) -> tuple[Forces, Float[Array, "c K"]]:
    """Averages over the fields in every cluster, and p_i E_i[δ].

    Of students' fields with these means, (cluster, K, point or 1), at normals z (dim, point).
    """
    n, K, points = roots.shape[1], means.shape[1], z.shape[1]
    M, c, kinds = n - K, len(law.weights), len(roots)
    teacher, fields = fields_around(law, roots, means, z)

    def learn(fields, teacher, number, noise):
        target = rule.target(teacher, cluster=number, noise=noise, **extras)
        return rule.learn(fields, target, head, noise=noise, **extras)

    each = jax.vmap(jax.vmap(learn, (-1, -1, None, -1), -1), (0, 0, 0, None))
    with jax.enable_x64(False):
        delta, change = each(fields, teacher, np.arange(c, dtype=np.int32), z[n:])
    share = law.weights / points
    of_kind = jnp.where(law.kind[:, None] == np.arange(kinds), share[:, None], 0)
    rows = delta.reshape(c * K, points)
    products = (rows @ jnp.concatenate([z[:n], rows]).T).astype(float).reshape(c, K, -1)  # in one call
    stein = jnp.einsum("cq,ckd->qkd", of_kind, products[:, :, :n])
    squares = jnp.stack([products[i, :, n + i * K : n + (i + 1) * K] for i in range(c)])
    G = jnp.einsum("cq,ckl->qkl", of_kind, squares)
    head = jax.tree.map(lambda x: jnp.tensordot(share, jnp.sum(x, axis=-1).astype(float), 1), change)

    def parts(stein, L):
        """[A H] = E[δ zᵀ] L⁻¹; where a field is fixed, H is not unique, and this one is not symmetric."""
        pull = times_inverse(stein, L)
        H, fixed = pull[:, M:], jnp.any(jnp.diagonal(L) <= SMALLEST)
        return jnp.where(fixed | (not rule.gradient), H, (H + H.T) / 2), pull[:, :M]

    forces = Forces(*jax.vmap(parts)(stein, roots), G, head)
    return forces, share[:, None] * jnp.sum(delta, axis=2).astype(float)


def fields_around(law: Clusters, roots: Any, means: Any, z: Any) -> tuple[Any, Any]:
    """Fields of teachers and students in every cluster, (cluster, M or K, point)."""
    n, M = roots.shape[1], law.teacher_mean.shape[1]
    around = jnp.stack([_product(root, z[:n]) for root in single(roots)])[law.kind]
    return law.teacher_mean + around[:, :M], means + around[:, M:]


def metrics_around(
    rule: Rule, law: Clusters, roots: Any, means: Any, z: Any, head: Any, extras: dict[str, Any]
) -> dict[str, Any]:
    """The rule's metrics over all clusters, without noise; parameters are those of :func:`averages_around`."""
    extras = extras | {"noise": jnp.zeros(rule.noise, jnp.float32)}

    def measure(teacher, fields, number):
        target = rule.target(teacher, cluster=number, **extras)
        return rule.measure(fields, target, head, **extras)

    each = jax.vmap(jax.vmap(measure, (-1, -1, None), -1))
    numbers, both = np.arange(len(law.weights), dtype=np.int32), fields_around(law, roots, means, z)
    with jax.enable_x64(False):
        values = each(*both, numbers)
    return jax.tree.map(lambda x: law.weights @ jnp.mean(x.astype(float), axis=1), values)


def _spread(law: Law, rates: Rates, eta: Any, dt: Any, forces: Forces, q: Any) -> Float[Array, "K K s"]:
    """The noise's density after a step, by the midpoint rule."""
    omega = law.noise_nodes[0]

    def slope(q):
        drift = omega * jnp.tensordot(forces.H[0], q, 1) + rates.weight_decay * q
        made = eta**2 / rates.batch_size * omega * forces.G[0][:, :, None]
        return made - eta * (drift + jnp.swapaxes(drift, 0, 1))

    return q + dt * slope(q + dt / 2 * slope(q))

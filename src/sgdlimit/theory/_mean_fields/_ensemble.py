"""Theory for mixtures: an ensemble of effective processes, from an instance to a trajectory."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike

from ...errors import AccuracyWarning, DivergenceError, DivergenceWarning, ProblemError, shown
from ...inputs import MixtureMoments
from ...instance import Instance
from ...resources import cores, one_thread, refuse_beyond_memory
from ...rules import Rule
from ...settings import check_whole
from ...signatures import checked
from ...training import OF_CLUSTERS
from ...trajectory import check_times, make_trajectory
from .._averages import integrals_for
from .._exactness import ENSEMBLE
from ._chain import Kept
from ._few import FAST, noise_of_means, solve_slow
from ._observed import frozen_units, metrics_of, modes, slopes_of, task_errors
from ._process import Process, time_grid
from ._stability import stability_edge

CHAINS = 32
LARGEST_STEP = 0.2
"""Largest step of integration, in units of t; see :func:`~sgdlimit.theory._mean_fields._process.time_grid`."""

GROUP = 16
"""Chains in one call of the program; half as many where covariances differ, and half of that for small ensembles.

They are always the same ones, so that bits do not depend on threads, and few numbers, so that few programs do for all.
"""


@checked
def solve_mixture(
    instance: Instance,
    times: ArrayLike,
    *,
    chains: int = CHAINS,
    seed: int = 0,
    largest_step: float = LARGEST_STEP,
    finite_size: bool = True,
    nodes: int | None = None,
    threads: int | None = None,
    fast: bool | None = None,
    moments: MixtureMoments | None = None,
) -> xr.Dataset:
    """Trajectories that theory predicts for inputs in Gaussian clusters, standardised or not (docs/mixture.md).

    The means of the inputs make mean fields M_k^i = W_k·a^i/√N, which move as fast as SGD steps: a Markov chain, with a
    step for a step of SGD. It drives the order parameters, which are those of the theory of Gaussian inputs with the
    covariances within the clusters. Every member of the ensemble is a chain with its own order parameters.

    Parameters
    ----------
    instance
        With a latent that has Gaussian components: :class:`sgdlimit.Gaussian`, :class:`sgdlimit.MixtureLaw` of up to
        64 clusters or with ``block_size=1``, :class:`sgdlimit.ClusterMixture`.
    times
        Output times t = step/N, shape (time,), increasing, from 0 on; rounded to whole steps of SGD.
    chains
        Members of the ensemble. Means over it have standard errors that fall like its square root.
    seed
        Seed of the chains; the same seed gives the same bits, for any number of threads.
    largest_step
        The largest step of integration, in units of t, after shorter ones from 0.002 on. The error is of second order.
    finite_size
        Whether the part of the weights along the means of the inputs, which makes M, counts in Q and R. It is of order
        1/N.
    nodes
        The most nodes of the spectrum, where all clusters share one; 14 (K + M + c + 1) by default.
    threads
        All cores by default.
    fast
        Whether the mean fields are followed step by step. With ``False``, for clusters of one covariance, they are part
        of the equations of motion, which is right where their means are of order 1 and one sample moves M by little.
        By default, η A_ii E[δ²] at the start decides, with finite_size; under the squared loss chains are taken, whose
        scatter is that of SGD. ``attrs["mean_fields"]`` says which.
    moments
        ``instance.mixture_moments()``, where that is known: instances that differ in their activation share it.

    Returns
    -------
    xarray.Dataset
        A trajectory with a leading ``run`` dimension, of the chains, or of one run of the equations of motion. Q and R
        are means over the clusters; beside them
        ``mean_field`` M (run, time, student, cluster), ``frozen`` (run, student), units that have stopped to learn, and
        ``mode`` (run,), different for chains that have settled apart from each other; ``attrs["modes"]`` and
        ``attrs["frozen_units"]`` count them. See :func:`over_ensemble`. The generalisation error is that of a chain at
        the output time. Where the first chain diverges all are cut, ``attrs["diverged_at"]`` says when, and a
        DivergenceWarning names the learning rate at which the mean fields get unstable.

    Raises
    ------
    ProblemError
        If the law has no components or too many, or a setting cannot be used.
    DivergenceError
        If a chain diverges before the first output time.

    Examples
    --------
    >>> import sgdlimit as sl
    >>> latent = sl.GaussianMixture(components=2, spread=9.0, block_size=50, standardize=True)
    >>> problem = sl.Problem(input_dim=100, latent_dim=50, student_units=2, teacher_units=2, activation="erf",
    ...                      learning_rate=0.2, latent=latent)
    >>> solve_mixture(problem.draw(seed=0), [0.1, 1.0], chains=4).mean_field.shape
    (4, 2, 2, 2)
    """
    times = check_times(times)
    threads = threads or cores()
    check_whole(1, chains=chains, threads=threads)
    check_whole(0, seed=seed)
    units = len(instance.student) + len(instance.teacher)
    refuse_beyond_memory("chains", chains, 8 * chains * len(times) * len(instance.student) * units)
    chains, seed = int(chains), int(seed)  # NumPy's have no place in attributes
    if not (np.ndim(largest_step) == 0 and 0 < largest_step <= 1):
        raise ProblemError(f"largest_step: must be above 0, up to 1 (got {shown(largest_step)}). Try 0.2.")
    moments = moments or instance.mixture_moments()
    rule, shared = rule_of(instance, moments), len(moments.kinds) == 1
    possible = shared and moments.blocks == 1 and finite_size
    if fast is False and not possible:
        raise ProblemError(
            "fast: must be true where clusters have different covariances, blocks choose, or finite_size is false. "
            "Leave it out."
        )
    asked = fast is False or (fast is None and not instance.closed_form)
    noise = noise_of_means(instance, moments, rule) if possible and asked else np.inf
    if fast is False and not noise < FAST:
        warnings.warn(
            f"fast: must be true where η A_ii E[δ²] exceeds {FAST} (got {noise:.2g}), because one sample moves the "
            "mean fields by much. Leave it out.",
            AccuracyWarning,
            stacklevel=2,
        )
    if fast is False or noise < FAST:
        attrs = instance.provenance(
            theory="mixture", kind="theory", mean_fields="slow: equations of motion", mean_field_noise=noise, seed=seed,
            chains=1, modes=1, frozen_units=0,
        )  # fmt: skip
        return solve_slow(instance, moments, rule, times, nodes=nodes, attrs=attrs)
    steps, task, output = time_grid(instance, times, float(largest_step))
    process = Process.of(instance, moments, rule, steps, task, output, seed, finite_size=bool(finite_size), nodes=nodes)
    most = GROUP if shared else GROUP // 2
    size = most if chains > most // 2 else most // 2
    members = np.arange(-(-chains // size) * size).reshape(-1, size)  # the last may be too many
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(process.run, members))
    reached = min(steps for _, steps in parts)
    kept = jax.tree.map(lambda *x: np.concatenate(x)[:chains], *(part for part, _ in parts))

    attrs = instance.provenance(
        theory="mixture", kind="theory", mean_fields="fast: chains", seed=seed, chains=chains,
        largest_step=float(largest_step), finite_size=int(finite_size),
        **{package: version(package) for package in ("sgdlimit", "jax", "numba")},
    )  # fmt: skip
    missing = np.count_nonzero(output[reached:] >= 0)
    if missing:
        attrs["diverged_at"] = float(times[-missing])
        edge = (
            ""
            if instance.rule or moments.blocks > 1
            else (
                " At the initial weights they get unstable above about "
                f"{stability_edge(instance, process.moments):.2g}."
            )
        )
        message = (
            f"learning_rate: with {instance.learning_rate:g} the mean fields diverge before t={times[-missing]:g}."
            f"{edge} Use a smaller one{', or a rule that stays finite at larger fields' if instance.rule else ''}."
        )
        if missing == len(times):
            raise DivergenceError(message)
        warnings.warn(message, DivergenceWarning, stacklevel=3)
    return _trajectory(process, kept, times[: len(times) - missing], attrs)


def rule_of(instance: Instance, moments: MixtureMoments | None = None) -> Rule:
    """The learning rule of an instance, if the theory has all that it and its training need.

    Raises
    ------
    ProblemError
        Naming what the theory lacks.
    """
    for name in sorted(instance.training.options() - OF_CLUSTERS):
        raise ProblemError(
            f"{name}: must be left out in mixture theory (got {getattr(instance.training, name)!r}). Use another "
            "theory."
        )
    if instance.later_latents:
        raise ProblemError("later_latents: must be left out in mixture theory (got some). Use 'moment-matched'.")
    rule = instance.as_rule(1.0 if moments is None else moments.mean_square)
    if rule.samples > 1:
        raise ProblemError(f"samples: must be 1 for mixture theory (got {rule.samples}). Use another theory, or SGD.")
    if rule.asks_for_overlaps:
        raise ProblemError(
            f"update: must not ask for Q, R or T in mixture theory (got {rule.name!r}). Use another theory, or SGD."
        )
    return rule


def _trajectory(process: Process, kept: Kept, times: Float[ndarray, "time"], attrs: dict[str, Any]) -> xr.Dataset:
    """What was kept of the chains, with their errors, modes and frozen units."""
    instance, moments, rule = process.instance, process.moments, process.setting.rule
    M, kept = len(instance.teacher), jax.tree.map(lambda x: x[:, : len(times)], kept)
    S = np.tensordot(kept.S, moments.kind_weights, (2, 0))  # averaged over the kinds
    task = np.searchsorted(instance.switch_times, times, side="right")
    variables = {"Q": S[..., M:, M:], "R": S[..., M:, :M]}
    variables |= {rule.prefix + name: value for name, value in kept.head.items()}
    variables["mean_field"] = kept.M
    activity = kept.activity if instance.rule else slopes_of(instance.activation, moments, kept)
    apart, frozen = modes(times, *variables.values()), frozen_units(activity)
    if instance.rule is None and instance.student_output.ndim == 1 and moments.blocks == 1:
        integrals = integrals_for(instance.activation, instance.teacher_activation)
        errors = task_errors(process.moments, kept, instance, integrals)
        variables["generalization_error"] = errors[:, np.arange(len(times)), task]
        if errors.shape[2] > 1:
            variables["task_error"] = errors
        attrs["integrals"] = integrals.method
    else:
        variables |= metrics_of(process.setting, process.law, kept, times, task, 1 + len(instance.switch_times))
        attrs["integrals"] = "quasi-Monte Carlo"
    attrs |= {"exactness": str(ENSEMBLE), "modes": int(apart.max()) + 1, "frozen_units": int(frozen.sum())}
    result = make_trajectory(times, attrs=attrs, leading={"run": np.arange(len(kept.M))}, **variables)
    return result.assign(mode=("run", apart), frozen=(("run", "student"), frozen))

"""Solve the equations of motion: from a spectrum to a trajectory."""

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import diffrax as dfx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import lax
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike

from ..errors import AccuracyWarning, DivergenceError, DivergenceWarning, ProblemError
from ..rules import Activation, Integrals, names_of
from ..training import PLAIN, Training, check_switch_times, task_units
from ..trajectory import check_times, make_trajectory
from ._compiled import call
from ._equations import Network, Nodes, Rule, State, field_covariance, generalization_error, right_hand_side
from ._exactness import exactness_of_averages, exactness_of_solution
from ._integrals import integrals_for
from ._spectrum import Spectrum, padded, spectrum

if TYPE_CHECKING:
    from ..instance import Instance

__all__ = ["OrderParameters", "integrate", "rule_of", "solve", "solve_spectrum"]

RTOL = ATOL = 5e-8
"""Local error of the solver; leaves Q, R and v within 1e-6 of the exact solution."""

PLAIN_RULE = Rule()
REVERSE = dfx.RecursiveCheckpointAdjoint()

SMALLEST_STEP = 1e-12
MAX_STEPS = 100_000
TIMES_AT_ONCE = 64
"""Programs are compiled for multiples of this many output times."""

ERRORS_ALONG = 16
"""States of a trajectory at which the error of the Gaussian averages is estimated."""


class OrderParameters(NamedTuple):
    """Order parameters at the output times, infinite where the solver did not get; and the steps it took."""

    Q: Float[Array, "time K K"]
    R: Float[Array, "time K M"]
    v: Float[Array, "time K"]
    generalization_error: Float[Array, "time"]
    task_error: Float[Array, "time task"]
    """Generalisation error on every task, whichever is being learned."""
    steps: Int[Array, ""]
    integral_error: float = 0.0
    """The largest estimated along the trajectory of the Gaussian averages, see :meth:`Integrals.error`."""


def integrate(
    spectrum: Spectrum,
    student_output: Float[Array, "K"],
    teacher_output: Float[Array, "M"],
    learning_rate: Float[Array, ""],
    times: Float[Array, "time"],
    *,
    integrals: Integrals,
    rule: Rule = PLAIN_RULE,
    rtol: Float[Array, ""] | float = RTOL,
    atol: Float[Array, ""] | float = ATOL,
    adjoint: dfx.AbstractAdjoint = REVERSE,
    max_steps: int | None = None,
) -> OrderParameters:
    """Order parameters at given times: a pure function for JAX to trace, batch and differentiate, in float64.

    Nothing is checked. Parameters are those of :func:`solve_spectrum`, with the training as a
    :class:`~sgdlimit.theory.Rule`, see :func:`rule_of`, and ṽ of shape (tasks, M) if it has times to switch.
    It has gradients in reverse mode; with ``diffrax.ForwardMode()`` as ``adjoint``, in forward mode, which compiles in
    a fraction of the time and is the faster for a dozen numbers.

    Examples
    --------
    >>> import jax
    >>> one = Spectrum([1.0], [1.0], [[[1.0]]], [[[0.0]]], [[[1.0]]], [[1.0]])
    >>> with jax.enable_x64(True):
    ...     print(integrate(one, jnp.ones(1), jnp.ones(1), 0.1, jnp.ones(1), integrals=integrals_for("linear")).v.dtype)
    float64
    """

    def nodes_last(array):
        return jnp.moveaxis(jnp.asarray(array), 0, -1)

    omega, weight = jnp.asarray(spectrum.eigenvalues), jnp.asarray(spectrum.weights)
    q, r, v = nodes_last(spectrum.student), nodes_last(spectrum.overlap), jnp.asarray(student_output)
    nodes = Nodes(omega, weight, nodes_last(spectrum.teacher), jnp.asarray(spectrum.noise))
    network = Network(
        jnp.asarray(spectrum.teacher_overlap), jnp.asarray(teacher_output), jnp.asarray(learning_rate), rule
    )

    def slope(t, state, args):
        return right_hand_side(t, state, nodes, network, integrals)

    def observe(t, state, args):
        S = field_covariance(state.Q, state.R, network.T)

        def error(v_teacher):
            return generalization_error(S, network.output_weights(state.v, v_teacher), len(state.v), integrals)

        errors = jnp.stack([error(v_teacher) for v_teacher in jnp.atleast_2d(network.v_teacher)])
        return state.Q, state.R, state.v, errors[rule.task(t)], errors

    carrying = lax.stop_gradient(jnp.maximum(jnp.mean((omega > 0) | (weight > 0)), 1 / len(omega)))
    controller = dfx.PIDController(
        rtol=rtol, atol=atol, norm=lambda error: _largest_rms(error, carrying), dtmin=SMALLEST_STEP, force_dtmin=False
    )
    corners = [jnp.asarray(x) for x in (rule.schedule_times, rule.switch_times) if x is not None]
    if corners:
        controller = dfx.ClipStepSizeController(controller, jump_ts=jnp.sort(jnp.concatenate(corners)))
    solution = dfx.diffeqsolve(
        dfx.ODETerm(slope),
        dfx.Tsit5(),
        t0=0.0,
        t1=times[-1],
        dt0=None,
        y0=State(q, r, q @ (weight * omega), r @ weight, v),
        saveat=dfx.SaveAt(ts=times, fn=observe),
        stepsize_controller=controller,
        adjoint=adjoint,
        max_steps=MAX_STEPS if max_steps is None else max_steps,
        throw=False,
    )
    return OrderParameters(*cast(tuple, solution.ys), steps=solution.stats["num_steps"])


def _largest_rms(error: State, carrying: Float[Array, ""]) -> Float[Array, ""]:
    """The largest root mean square of a part of the state; on the nodes, over the share of them that carry anything."""
    # One mean over all numbers would hide the errors of Q, R and v among thousands of node values.
    shares = (carrying, carrying, 1, 1, 1)
    largest = jnp.max(
        jnp.stack([jnp.sqrt(jnp.mean(jnp.square(part)) / share) for part, share in zip(error, shares, strict=True)])
    )
    # A step to infinity has error ∞/∞; as NaN it would stop the step size from shrinking.
    return jnp.where(jnp.isnan(largest), jnp.inf, largest)


def solve_spectrum(
    spectrum: Spectrum,
    student_output: ArrayLike,
    teacher_output: ArrayLike,
    *,
    activation: str | Activation,
    teacher_activation: str | Activation | None = None,
    learning_rate: float,
    times: ArrayLike,
    training: Training = PLAIN,
    switch_times: ArrayLike = (),
    rtol: float = RTOL,
    atol: float = ATOL,
    max_steps: int | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Trajectory of the order parameters for inputs given by their spectrum.

    Parameters
    ----------
    spectrum
        Inputs and initial overlaps.
    student_output, teacher_output
        Initial v, shape (K,), and ṽ, shape (M,), or (tasks, M) for a teacher that changes.
    activation, teacher_activation
        g of the student and of the teacher, the same by default: a name or an :class:`sgdlimit.Activation`.
    learning_rate
        η.
    times
        Output times t = step/N, shape (time,), increasing, from 0 on.
    training
        Options of training.
    switch_times
        When the next task begins, shape (tasks − 1,).
    rtol, atol
        Local error allowed to the solver.
    max_steps
        Steps of the solver after which it gives up, as on the way to a divergence; :data:`MAX_STEPS` by default.
    attrs
        Provenance to keep with the trajectory.

    Returns
    -------
    xarray.Dataset
        Q, R, v and generalization_error, see :mod:`sgdlimit.trajectory`. ``attrs["integrals"]`` says how the Gaussian
        averages were done and ``attrs["integral_error"]`` the largest error estimated along the trajectory, with a
        warning if it exceeds the ``accuracy`` of the activation. If the trajectory diverges it ends at the
        last finite output time, ``attrs["diverged_at"]`` is the first not reached, and a DivergenceWarning is given.

    Raises
    ------
    ProblemError
        If a setting or a shape cannot be used.
    DivergenceError
        If the trajectory diverges before the first output time.

    Examples
    --------
    >>> one = Spectrum([1.0], [1.0], [[[1.0]]], [[[0.0]]], [[[1.0]]], [[1.0]])
    >>> trajectory = solve_spectrum(one, [1.0], [1.0], activation="linear", learning_rate=0.1, times=[0, 100])
    >>> trajectory.generalization_error.values.round(3)
    array([1., 0.])
    """
    integrals = integrals_for(activation, teacher_activation)
    most_steps = MAX_STEPS if max_steps is None else max_steps
    _, K, M = spectrum.overlap.shape
    v = check_vector("student_output", student_output, K)
    v_teacher, switch_times = check_tasks(teacher_output, switch_times, M)
    for name, value in (("learning_rate", learning_rate), ("rtol", rtol), ("atol", atol), ("max_steps", most_steps)):
        check_positive(name, value)
    times = check_times(times)

    rule = rule_of(training, learning_rate, K, task_units(v_teacher), switch_times)
    result = order_parameters(spectrum, v, v_teacher, learning_rate, times, integrals, rule, rtol, atol, most_steps)
    count = reached(result)
    provenance = provenance_of(integrals, [result], rtol, atol, attrs, [training])
    provenance |= names_of(activation, teacher_activation) | {"learning_rate": float(learning_rate)}
    if count < len(times):
        reason = f"takes more than {most_steps} steps" if result.steps >= most_steps else "leaves the finite numbers"
        message = (
            f"learning_rate: with {learning_rate:g} the theory {reason} before t={times[count]:g}; use a smaller one"
        )
        if count == 0:
            raise DivergenceError(message)
        provenance["diverged_at"] = float(times[count])
        warnings.warn(message, DivergenceWarning, stacklevel=2)
    cut = {name: values[:count] for name, values in variables(result).items()}
    return make_trajectory(times[:count], attrs=provenance, **cut)


def order_parameters(
    spectrum: Spectrum,
    v: Float[np.ndarray, "K"],
    v_teacher: Float[np.ndarray, "M"],
    learning_rate: float,
    times: Float[np.ndarray, "time"],
    integrals: Integrals,
    rule: Rule,
    rtol: float,
    atol: float,
    max_steps: int | None = None,
) -> OrderParameters:
    """What :func:`integrate` finds, compiled, as NumPy arrays, with Gaussian averages as accurate as asked for."""

    # All numbers are arguments, which are traced: a new value of one needs no new compilation, nor do a few more times
    # or nodes.
    def integrated(integrals: Integrals) -> OrderParameters:
        more_times = np.append(times, np.repeat(times[-1], -len(times) % TIMES_AT_ONCE))
        arguments = (padded(spectrum), v, v_teacher, learning_rate, more_times)
        tolerances = {"rtol": max(rtol, integrals.finest_tolerance), "atol": max(atol, integrals.finest_tolerance)}
        static = {"integrals": integrals, "max_steps": MAX_STEPS if max_steps is None else max_steps}
        *variables, steps, _ = call(integrate, *arguments, rule=rule, **tolerances, static=static)
        return OrderParameters(*(values[: len(times)] for values in variables), steps=steps)  # type: ignore[arg-type]

    def largest_error(integrals: Integrals, *states: Any) -> float:
        shared = spectrum.teacher_overlap, v_teacher, learning_rate
        some = np.linspace(0, len(states[0]) - 1, ERRORS_ALONG).astype(int)
        moving = [values[some] for values in states]
        (errors,) = call(integral_errors, *moving, *shared, rule=rule, static={"integrals": integrals})
        return float(errors.max())

    if np.isinf(integrals.accuracy):
        return integrated(integrals)._replace(integral_error=integrals.known_error)
    start = spectrum.Q[None], spectrum.R[None], v[None], times[:1]
    integrals = integrals.reaching(largest_error(integrals, *start))
    while True:
        result = integrated(integrals)
        if (count := reached(result)) == 0:
            return result
        error = largest_error(integrals, result.Q[:count], result.R[:count], result.v[:count], times[:count])
        if (finer := integrals.reaching(error)) == integrals:
            return result._replace(integral_error=error)
        integrals = finer


def integral_errors(
    Q: Float[Array, "time K K"],
    R: Float[Array, "time K M"],
    v: Float[Array, "time K"],
    times: Float[Array, "time"],
    T: Float[Array, "M M"],
    v_teacher: Float[Array, "M"],
    learning_rate: Float[Array, ""],
    *,
    rule: Rule,
    integrals: Integrals,
) -> tuple[Float[Array, "time"]]:
    """Estimated errors of the Gaussian averages at some states of a trajectory."""
    network = Network(T, v_teacher, learning_rate, rule)

    def of_state(state):
        Q, R, v, t = state
        c = network.output_weights(v, network.teacher_at(t))
        return integrals.error(field_covariance(Q, R, T), c, len(v))

    return (lax.map(of_state, (Q, R, v, times)),)


def rule_of(
    training: Training, learning_rate: float, K: int, M: int, switch_times: Float[np.ndarray, "tasks-1"] | None = None
) -> Rule:
    """The learning rule as numbers, for :func:`integrate`; M is the number of units a task's teacher has."""
    schedule = training.schedule
    return Rule(
        output_rate=training.output_rate(learning_rate) / learning_rate,
        student_scale=training.output_scale(K),
        teacher_scale=training.output_scale(M),
        label_noise=training.label_noise,
        weight_decay=training.weight_decay,
        batch_size=float(training.batch_size),
        schedule_times=None if schedule is None else np.array(schedule.times),
        schedule_factors=None if schedule is None else np.array(schedule.factors),
        switch_times=None if switch_times is None or len(switch_times) == 0 else switch_times,
    )


def variables(result: OrderParameters) -> dict[str, Any]:
    """Arrays of a trajectory, by name; errors task by task only where there are several."""
    left_out = {"steps", "integral_error"} | ({"task_error"} if result.task_error.shape[-1] == 1 else set())
    return {name: np.asarray(values) for name, values in result._asdict().items() if name not in left_out}


def reached(result: OrderParameters) -> int:
    """Number of output times before the first with a number that is not finite."""
    finite = np.all([np.isfinite(x).reshape(len(x), -1).all(axis=1) for x in variables(result).values()], axis=0)
    return len(finite) if finite.all() else int(np.argmin(finite))


def provenance_of(
    integrals: Integrals,
    results: Sequence[OrderParameters],
    rtol: float,
    atol: float,
    attrs: Mapping[str, Any] | None,
    training: Sequence[Training],
) -> dict[str, Any]:
    """Attributes of a trajectory of theory; of several cases, those of each where they differ.

    Warns if the Gaussian averages were not done to the accuracy asked for.
    """
    options = [some.model_dump_json(exclude_defaults=True) for some in training]
    error = max(result.integral_error for result in results)
    if error > integrals.accuracy:
        warnings.warn(
            f"accuracy: the Gaussian averages are known to {error:.1g} only where {integrals.accuracy:.1g} was asked "
            "for; allow a larger error, or smaller output weights and learning rates",
            AccuracyWarning,
            stacklevel=3,
        )
    return {
        **(attrs or {}),
        "kind": "theory",
        "exactness": str(exactness_of_averages(integrals)),
        "integrals": integrals.method,
        "integral_error": error,
        "training": options[0] if len(set(options)) == 1 else options,
        "rtol": float(max(rtol, integrals.finest_tolerance)),
        "atol": float(max(atol, integrals.finest_tolerance)),
        **versions(),
    }


@cache
def versions() -> dict[str, str]:
    """Of the packages that a solution depends on."""
    return {package: version(package) for package in ("sgdlimit", "jax", "diffrax")}


def solve(
    instance: "Instance",
    times: ArrayLike,
    theory: str = "conventional",
    *,
    nodes: int | None = None,
    chains: int | None = None,
    seed: int | None = None,
) -> xr.Dataset:
    """Trajectory of the order parameters that theory predicts for an instance.

    Parameters
    ----------
    instance
        A network, its teacher and its inputs, :class:`sgdlimit.Instance`.
    times
        Output times t = step/N, shape (time,), increasing, from 0 on.
    theory
        ``"conventional"`` takes the latent covariance for the identity (Bae & Jeong, after Goldt et al. 2020),
        ``"moment-matched"`` takes the true one, ``"mixture"`` takes the latent for the Gaussian clusters it consists
        of, see :func:`sgdlimit.theory.solve_mixture`.
    nodes
        The most nodes of the spectrum to keep, see :func:`sgdlimit.theory.reduce`; all by default, up to 3000 distinct
        eigenvalues.
    chains, seed
        Of the ensemble that ``"mixture"`` is, 32 and 0 by default.

    Returns
    -------
    xarray.Dataset
        As from :func:`solve_spectrum`; of ``"mixture"`` with a leading ``run`` dimension.

    Raises
    ------
    ProblemError
        If the times, the theory or ``nodes`` cannot be used.
    DivergenceError
        If the trajectory diverges before the first output time.

    Examples
    --------
    >>> from sgdlimit import Problem
    >>> problem = Problem(input_dim=20, latent_dim=5, student_units=2, teacher_units=3, activation="erf",
    ...                   learning_rate=0.2)
    >>> dict(solve(problem.draw(seed=0), times=[0.0, 1.0]).sizes)
    {'time': 2, 'student': 2, 'student_': 2, 'teacher': 3}
    """
    if theory == "mixture":
        from ..instance import check_instance
        from ._mean_fields._ensemble import CHAINS, solve_mixture

        check_instance(instance)
        options = {"chains": CHAINS if chains is None else chains, "seed": 0 if seed is None else seed, "nodes": nodes}
        return solve_mixture(instance, times, **options)
    for name, value in (("chains", chains), ("seed", seed)):
        if value is not None:
            raise ProblemError(f"{name}: theory={theory!r} has no ensemble; leave it out, or use theory='mixture'")
    solution = solve_spectrum(
        spectrum(instance, theory, nodes=nodes),
        instance.student_output,
        instance.teacher_output,
        activation=instance.activation,
        teacher_activation=instance.teacher_activation,
        learning_rate=instance.learning_rate,
        times=times,
        training=instance.training,
        switch_times=instance.switch_times,
        attrs=instance.provenance(theory=theory),
    )
    integrals = integrals_for(instance.activation, instance.teacher_activation)
    return solution.assign_attrs(exactness=str(exactness_of_solution(instance, theory, integrals)))


def check_vector(name: str, values: ArrayLike, length: int) -> Float[np.ndarray, "length"]:
    """Finite numbers of the length that the spectrum asks for, or a ProblemError."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (length,):
        raise ProblemError(f"{name}: shape {array.shape} does not fit the spectrum; give ({length},)")
    if not np.all(np.isfinite(array)):
        raise ProblemError(f"{name}: {array} has numbers that are not finite; give finite ones")
    return array


def check_tasks(
    teacher_output: ArrayLike, switch_times: ArrayLike, M: int
) -> tuple[Float[np.ndarray, "*tasks M"], Float[np.ndarray, "tasks-1"]]:
    """Output weights of each task, and when the next one begins; one task has ṽ of shape (M,)."""
    switches = check_switch_times(switch_times)
    if len(switches) == 0:
        return check_vector("teacher_output", teacher_output, M), switches
    outputs = np.asarray(teacher_output, dtype=np.float64)
    if outputs.shape != (len(switches) + 1, M):
        raise ProblemError(
            f"teacher_output: shape {outputs.shape} does not fit {len(switches)} switch_times; give one row of the "
            f"{M} teacher units for each task, {(len(switches) + 1, M)}"
        )
    return np.stack([check_vector("teacher_output", output, M) for output in outputs]), switches


def check_positive(name: str, value: float) -> None:
    """Raise a ProblemError for what is not a positive number."""
    if not (np.ndim(value) == 0 and np.isfinite(value) and value > 0):
        raise ProblemError(f"{name}: {value!r} is not a positive number; give a small one, such as 0.2 or 1e-8")

"""One compiled solve of the equations of motion for one case, with Gaussian averages of the requested accuracy."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, cast

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int
from numpy import ndarray

from ..errors import ProblemError
from ..rules import Averages, Integrals, Moment, Scalar
from ._compiled import call
from ._equations import Case, State, batch_step, moment_at, right_hand_side, start, task_at
from ._points import Points
from ._spectrum import interpolated, padded
from ._stiff import Rosenbrock
from ._symmetry import Symmetry, symmetry_of

RTOL = ATOL = 5e-8
"""Local error of the solver; leaves Q, R and v within 1e-6 of the exact solution."""

REVERSE = dfx.RecursiveCheckpointAdjoint()

LARGEST_GROWTH = 1e6
"""A generalisation error that grows by more than this from the first output time, or from 1, diverges."""

RELATIVE = 1e-4
"""Local error allowed to ε, relative to ε + the larger of atol and FINEST."""

RARELY = 3e-3
"""Relative local error allowed to what students do not know of their teachers, where a rule rarely learns."""

FINEST = 1e-11
"""Smallest atol for ε. Below it, rounding would stop the solver."""

SMALLEST_STEP = 1e-12

STIFF = 10_000
"""Most explicit steps that the largest eigenvalue may need. Beyond that steps are implicit, which cost ten each."""

SPREAD = 1e3
"""Implicit steps resolve eigenvalues this many times smaller than the time needs, because forces may grow."""

MAX_STEPS = 100_000
TIMES_AT_ONCE = 64
"""Programs are compiled for multiples of this many output times."""

ERRORS_ALONG = 16
"""States of a trajectory at which the error of the Gaussian averages is estimated."""


class Solver(NamedTuple):
    """How a case is solved."""

    averages: Averages
    rtol: float = RTOL
    atol: float = ATOL
    max_steps: int = MAX_STEPS
    """Steps after which the solver gives up."""

    def tolerances(self) -> dict[str, float]:
        """Local errors, not below what the averages resolve."""
        finest = self.averages.finest_tolerance
        return {"rtol": float(max(self.rtol, finest)), "atol": float(max(self.atol, finest))}

    @property
    def resolved(self) -> float:
        """Smallest ε that is known to about a percent."""
        return 200 * RELATIVE * max(self.tolerances()["atol"], FINEST)


class OrderParameters(NamedTuple):
    """Order parameters at the output times, infinite where the solver did not arrive, and the steps it took."""

    Q: Float[Array, "time K K"]
    R: Float[Array, "time K M"]
    head: dict[str, Any]
    """Every parameter of the head, shape (time, ...)."""
    metrics: dict[str, Any]
    """Averages that are followed, shape (time,); for a network with one output those of :class:`Integrals`."""
    steps: Int[Array, ""]
    reached: int = 0
    """Number of output times before the first at which the trajectory has diverged."""
    integral_error: float = 0.0
    """Largest error of the Gaussian averages estimated along the trajectory, see :meth:`Averages.error`."""


class _TimesChecked(dfx.AbstractAdjoint):
    """Another adjoint, for output times that are known to increase.

    diffrax checks their order by a callback to Python, with which no compiled program can be kept. The solution does
    not depend on its result here, so that the callback is no part of the program.
    """

    adjoint: dfx.AbstractAdjoint
    times: Float[Array, "time"]

    def loop(self, *, saveat: dfx.SaveAt, **rest: Any) -> Any:
        """The main loop, with the times as they were given."""
        saveat = eqx.tree_at(lambda saveat: saveat.subs.ts, saveat, self.times)
        return self.adjoint.loop(saveat=saveat, **rest)


def integrate(
    case: Case,
    times: Float[Array, "time"],
    rtol: Scalar | float = RTOL,
    atol: Scalar | float = ATOL,
    symmetry: Symmetry | None = None,
    *,
    averages: Averages,
    adjoint: dfx.AbstractAdjoint = REVERSE,
    max_steps: int = MAX_STEPS,
    stiff: bool = False,
) -> OrderParameters:
    """Order parameters at given times: a pure function for JAX to trace, batch and differentiate, in float64.

    Nothing is checked. It has gradients in reverse mode; with ``diffrax.ForwardMode()`` as ``adjoint``, in forward
    mode, which compiles in a fraction of the time and is faster for a dozen numbers.

    Examples
    --------
    >>> import jax
    >>> from sgdlimit.theory import Spectrum, integrals_for
    >>> from sgdlimit.training import PLAIN
    >>> one = Spectrum([1.0], [1.0], [[[1.0]]], [[[0.0]]], [[[1.0]]], [[1.0]])
    >>> with jax.enable_x64(True):
    ...     case = Case(one, {"v": jnp.ones(1)}, jnp.ones((1, 1)), PLAIN.rates(0.1, K=1, M=1))
    ...     print(integrate(case, jnp.ones(1), averages=integrals_for("linear")).Q.dtype)
    float64
    """
    state, case = start(case)
    inputs, rates = case.spectrum, case.rates
    average = (lambda state: state) if symmetry is None else symmetry.average

    def observe(t, state, args):
        metrics = averages.metrics(moment_at(t, state, case))
        return state.Q, state.R, state.head, metrics if rates.carry is None else metrics | state.more

    if rates.fraction is not None:
        step = partial(batch_step, case=case, averages=averages)
        return _by_batches(lambda t, state: average(step(t, state)), observe, rates.fraction, average(state), times)

    rare = isinstance(averages, Points) and averages.rare

    def size(t, state):
        if isinstance(averages, Points):  # ε is of the order of its root
            return jnp.sum(averages.unknown(moment_at(t, state, case))) + FINEST
        return jnp.abs(observe(t, state, None)[3]["generalization_error"]) + jnp.maximum(atol, FINEST)

    def level(t, state):
        # ln(ε + atol), scaled so that the solver's atol stands for RELATIVE of it: what ``error`` adds up.
        return atol / RELATIVE * jnp.log(size(t, state)) if resolves else state.error

    resolves = isinstance(averages, Integrals) and rates.keep is None  # ε and H, A, E[γ] as its derivatives

    def slope(t, state, args):
        change = right_hand_side(t, state, case, averages)
        if rare:
            still = jax.tree.map(jnp.zeros_like, state)._replace(Q=change.Q, R=change.R)
            known, moved = jax.jvp(lambda state: size(t, state), (state,), (still,))
            return average(change._replace(error=moved * atol / (RARELY * known)))
        allowed = RELATIVE * size(t, state) if resolves else jnp.inf
        return average(change._replace(error=change.error * atol / allowed))

    carrying = jnp.mean((inputs.eigenvalues > 0) | (inputs.weights > 0))
    carrying = lax.stop_gradient(jnp.maximum(carrying, 1 / len(inputs.weights)))

    def norm(error):
        # One mean over all numbers would hide the errors of Q, R and v among thousands of node values. On the nodes
        # it is the mean over the share of them that carry anything.
        on_nodes = [carrying if jnp.ndim(part) == 3 else 1 for part in jax.tree.leaves(error)]
        parts = [jnp.sqrt(jnp.mean(x**2) / share) for x, share in zip(jax.tree.leaves(error), on_nodes, strict=True)]
        largest = jnp.stack(parts).max()
        # A step to infinity has error ∞/∞; as NaN it would stop the step size from shrinking.
        return jnp.where(jnp.isnan(largest), jnp.inf, largest)

    controller = dfx.PIDController(rtol, atol, norm=norm, dtmin=SMALLEST_STEP, force_dtmin=False)
    corners = [x for x in (rates.schedule_times, rates.switch_times) if x is not None]
    if corners:
        controller = dfx.ClipStepSizeController(controller, jump_ts=jnp.sort(jnp.concatenate(corners)))
    solution = dfx.diffeqsolve(
        dfx.ODETerm(slope),
        Rosenbrock(case, averages, level, average) if stiff else dfx.Tsit5(),
        t0=0.0 if rates.carry is None else rates.carry,
        t1=times[-1],
        dt0=None,
        y0=average(state),
        saveat=dfx.SaveAt(ts=times, fn=lambda t, state, args: observe(t, average(state), args)),
        stepsize_controller=controller,
        adjoint=_TimesChecked(adjoint, times),
        max_steps=max_steps,
        throw=False,
    )
    return OrderParameters(*cast(tuple, solution.ys), steps=solution.stats["num_steps"])


def _by_batches(
    step: Callable[[Any, State], State], observe: Callable[..., Any], alpha: Any, state: State, times: Any
) -> OrderParameters:
    """Observations at given times of a state that changes at multiples of α."""

    def batch(place):
        number, state = place
        return number + 1, step(number * alpha, state)

    def until(place, t):
        place = lax.while_loop(lambda place: (place[0] + 1) * alpha <= t * (1 + 1e-12), batch, place)
        return place, observe(t, place[1], None)

    (steps, _), found = lax.scan(until, (jnp.zeros((), int), state), times)
    return OrderParameters(*found, steps=steps)


def order_parameters(case: Case, times: Float[ndarray, "time"], solver: Solver) -> OrderParameters:
    """Results of :func:`integrate` as NumPy arrays, compiled, with Gaussian averages of the requested accuracy."""
    inputs, averages, rates = case.spectrum, solver.averages, case.rates
    K, M = inputs.overlap.shape[1:]
    start = inputs.Q[None], inputs.R[None], jax.tree.map(lambda x: np.asarray(x)[None], case.head)
    finer = averages.reaching(_integral_error(case, averages, (*start, times[:1])))
    # All numbers are arguments, which are traced: a new value of one needs no new compilation, nor do a few more times
    # or nodes. About as many steps as an explicit method takes, which is stable for steps up to 1.7/(ηωH), H ≈ Σ v².
    weights = [rates.student_scale * np.asarray(case.head.get("v", 1.0))]
    weights += [rates.teacher_scale * np.asarray(each) for each in jax.tree.leaves(case.given)]
    force = max(float(np.sum(each**2)) for each in weights)
    explicit_steps = rates.learning_rate * inputs.eigenvalues.max() * force * times[-1] / 1.7
    coupled = rates.memory, rates.sphere, rates.norm, rates.fraction, rates.carry, rates.drift
    plain = averages.gradient and all(option is None for option in coupled)
    stiff = plain and explicit_steps > STIFF
    if rates.fraction is not None and times[-1] / rates.fraction > solver.max_steps:
        raise ProblemError(
            f"batch_fraction: must make at most {solver.max_steps} steps until t={times[-1]:g} (got "
            f"{rates.fraction:g}). Use larger batches, or batch_size."
        )
    more_times = np.append(times, np.repeat(times[-1], -len(times) % TIMES_AT_ONCE))
    rest = more_times, *solver.tolerances().values()
    # Averages that turn out too coarse along the trajectory are refined, and it is solved again.
    while True:
        averages = finer
        nodes = padded(interpolated(inputs, SPREAD * max(explicit_steps, STIFF)) if stiff else inputs)
        arguments = *rest, symmetry_of(case, averages)
        options = {"averages": averages, "max_steps": solver.max_steps, "stiff": stiff}

        def solved(points, nodes=nodes, arguments=arguments, options=options):
            return call(integrate, case._replace(spectrum=nodes, points=points), *arguments, **options)

        sets = averages.points(K, M)
        with ThreadPoolExecutor(len(sets)) as pool:
            both = [*pool.map(solved, sets)]
        if plain and not stiff and both[0].steps >= max(solver.max_steps, STIFF):  # as from small weights that grow
            stiff = True
            continue
        both = [jax.tree.map(lambda x: x[: len(times)] if np.ndim(x) else x, each) for each in both]
        found = jax.tree.map(lambda *x: sum(x) / len(x), *both)
        values = jax.tree.leaves(found[:4])
        finite = [np.isfinite(x).reshape(len(x), -1).all(axis=1) for x in values]
        for error in jax.tree.leaves(found.metrics):
            error = error.reshape(len(error), -1).max(axis=1)
            finite.append(error <= LARGEST_GROWTH * max(1.0, error[0]))
        reached = int(np.append(np.all(finite, axis=0), False).argmin())
        error = 0.0
        if reached > 0:
            if len(both) > 1:  # half their difference is the error of the mean of two independent solutions
                parts = zip(*(jax.tree.leaves(each[:3]) for each in both), strict=True)
                error = max(_apart(one[:reached], other[:reached]) for one, other in parts) / 2
            else:
                states = jax.tree.map(lambda x, end=reached: x[:end], (*found[:3], times))
                error = _integral_error(case, averages, states)
            finer = averages.reaching(error)
        if finer == averages:
            return found._replace(steps=both[0].steps, reached=reached, integral_error=error)


def _apart(one: ndarray, other: ndarray) -> float:
    """Mean difference of two solutions over time, relative to what is larger than 1."""
    return float((np.abs(one - other) / np.maximum(1, np.abs(one))).mean())


def _integral_error(case: Case, averages: Averages, states: Any) -> float:
    """The largest error of the Gaussian averages at some of the given states (Q, R, head, t)."""
    if np.isinf(averages.accuracy) or not isinstance(averages, Integrals):
        return averages.known_error
    some = np.linspace(0, len(states[0]) - 1, ERRORS_ALONG).astype(int)
    rest, T = case._replace(spectrum=None), case.spectrum.teacher_overlap
    states = jax.tree.map(lambda values: values[some], states)
    return float(call(integral_errors, rest, T, states, averages=averages)[0].max())


def integral_errors(case: Case, T: Float[Array, "M M"], states: Any, *, averages: Averages) -> tuple[Any]:
    """Estimated errors of the Gaussian averages at some states (Q, R, head, t) of a trajectory."""

    def of_state(state):
        Q, R, head, t = state
        at = Moment(Q, R, T, head, case.given, case.rates, task_at(case.rates, t), t, case.points)
        return averages.error(at)

    return (jax.lax.map(of_state, states),)

"""One compiled solve of the equations of motion for one case, with Gaussian averages as accurate as asked for."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int
from numpy import ndarray

from ..rules import Integrals, Scalar
from ._compiled import call
from ._equations import (
    Case,
    field_covariance,
    generalization_error,
    right_hand_side,
    signed_weights,
    start,
    task_at,
)
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

FINEST = 1e-11
"""Below atol of this size the rounding of ε would stop the solver."""

SMALLEST_STEP = 1e-12

STIFF = 10_000
"""Explicit steps that the largest eigenvalue may ask for; with more, the step is implicit, at the price of ten."""

SPREAD = 1e3
"""Implicit steps resolve eigenvalues that are smaller by this than the time asks for, because forces may grow."""

MAX_STEPS = 100_000
TIMES_AT_ONCE = 64
"""Programs are compiled for multiples of this many output times."""

ERRORS_ALONG = 16
"""States of a trajectory at which the error of the Gaussian averages is estimated."""


class Solver(NamedTuple):
    """How a case is solved."""

    integrals: Integrals
    rtol: float = RTOL
    atol: float = ATOL
    max_steps: int = MAX_STEPS
    """Steps after which the solver gives up."""

    def tolerances(self) -> dict[str, float]:
        """Local errors, not below what the averages resolve."""
        finest = self.integrals.finest_tolerance
        return {"rtol": float(max(self.rtol, finest)), "atol": float(max(self.atol, finest))}

    @property
    def resolved(self) -> float:
        """Smallest ε that is known to about a percent."""
        return 200 * RELATIVE * max(self.tolerances()["atol"], FINEST)


class OrderParameters(NamedTuple):
    """Order parameters at the output times, infinite where the solver did not get; and the steps it took."""

    Q: Float[Array, "time K K"]
    R: Float[Array, "time K M"]
    v: Float[Array, "time K"]
    generalization_error: Float[Array, "time"]
    task_error: Float[Array, "time task"]
    """Generalisation error on every task, whichever is being learned."""
    steps: Int[Array, ""]
    reached: int = 0
    """Number of output times before the first at which the trajectory has diverged."""
    integral_error: float = 0.0
    """Largest error of the Gaussian averages estimated along the trajectory, see :meth:`Integrals.error`."""


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
    integrals: Integrals,
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
    ...     case = Case(one, jnp.ones(1), jnp.ones(1), PLAIN.rates(0.1, K=1, M=1))
    ...     print(integrate(case, jnp.ones(1), integrals=integrals_for("linear")).v.dtype)
    float64
    """
    state, case = start(case)
    inputs, _, v_teacher, rates = case
    average = (lambda state: state) if symmetry is None else symmetry.average

    def observe(t, state, args):
        Q, R, v = state[2:5]
        S = field_covariance(Q, R, jnp.asarray(inputs.teacher_overlap))
        signed = [signed_weights(rates, v, task) for task in v_teacher]
        errors = jnp.stack([generalization_error(S, c, len(v), integrals) for c in signed])
        return Q, R, v, errors[task_at(rates, t)], errors

    def size(t, state):
        return jnp.abs(observe(t, state, None)[3]) + jnp.maximum(atol, FINEST)

    def level(t, state):
        # ln(ε + atol), scaled so that the solver's atol stands for RELATIVE of it: what ``error`` adds up.
        return atol / RELATIVE * jnp.log(size(t, state))

    def slope(t, state, args):
        change = right_hand_side(t, state, case, integrals)
        allowed = RELATIVE * size(t, state)
        return average(change._replace(error=change.error * atol / allowed))

    carrying = jnp.mean((inputs.eigenvalues > 0) | (inputs.weights > 0))
    carrying = lax.stop_gradient(jnp.maximum(carrying, 1 / len(inputs.weights)))

    def norm(error):
        # One mean over all numbers would hide the errors of Q, R and v among thousands of node values. On the nodes
        # it is the mean over the share of them that carry anything.
        shares = (carrying, carrying, 1, 1, 1, 1)
        parts = [jnp.sqrt(jnp.mean(part**2) / share) for part, share in zip(error, shares, strict=True)]
        largest = jnp.stack(parts).max()
        # A step to infinity has error ∞/∞; as NaN it would stop the step size from shrinking.
        return jnp.where(jnp.isnan(largest), jnp.inf, largest)

    controller = dfx.PIDController(rtol, atol, norm=norm, dtmin=SMALLEST_STEP, force_dtmin=False)
    corners = [x for x in (rates.schedule_times, rates.switch_times) if x is not None]
    if corners:
        controller = dfx.ClipStepSizeController(controller, jump_ts=jnp.sort(jnp.concatenate(corners)))
    solution = dfx.diffeqsolve(
        dfx.ODETerm(slope),
        Rosenbrock(case, integrals, level, average) if stiff else dfx.Tsit5(),
        t0=0.0,
        t1=times[-1],
        dt0=None,
        y0=average(state),
        saveat=dfx.SaveAt(ts=times, fn=observe),
        stepsize_controller=controller,
        adjoint=_TimesChecked(adjoint, times),
        max_steps=max_steps,
        throw=False,
    )
    return OrderParameters(*cast(tuple, solution.ys), steps=solution.stats["num_steps"])


def order_parameters(case: Case, times: Float[ndarray, "time"], solver: Solver) -> OrderParameters:
    """What :func:`integrate` finds, compiled, as NumPy arrays, with Gaussian averages as accurate as asked for."""
    inputs, integrals = case.spectrum, solver.integrals
    states = inputs.Q[None], inputs.R[None], case.v[None], times
    finer = integrals.reaching(_integral_error(case, integrals, states))
    # All numbers are arguments, which are traced: a new value of one needs no new compilation, nor do a few more times
    # or nodes.
    rates = case.rates
    weights = [rates.student_scale * case.v, *(rates.teacher_scale * np.atleast_2d(case.v_teacher))]
    force = max(float(c @ c) for c in weights)
    # About as many steps as an explicit method takes, which is stable for steps up to 1.7/(ηωH), with H ≈ Σ v².
    explicit_steps = rates.learning_rate * inputs.eigenvalues.max() * force * times[-1] / 1.7
    stiff = explicit_steps > STIFF
    more_times = np.append(times, np.repeat(times[-1], -len(times) % TIMES_AT_ONCE))
    arguments = more_times, *solver.tolerances().values(), symmetry_of(case)
    # Averages that turn out too coarse along the trajectory are refined, and it is solved again.
    while True:
        integrals = finer
        options = {"integrals": integrals, "max_steps": solver.max_steps}
        nodes = padded(interpolated(inputs, SPREAD * max(explicit_steps, STIFF)) if stiff else inputs)
        *values, steps, _, _ = call(integrate, case._replace(spectrum=nodes), *arguments, **options, stiff=stiff)
        if not stiff and steps >= max(solver.max_steps, STIFF):  # as from small weights that grow
            stiff = True
            continue
        values = [x[: len(times)] for x in values]
        finite = [np.isfinite(x).reshape(len(x), -1).all(axis=1) for x in values]
        finite.append(values[3] <= LARGEST_GROWTH * max(1.0, values[3][0]))
        reached = int(np.append(np.all(finite, axis=0), False).argmin())
        error = 0.0
        if reached > 0:
            error = _integral_error(case, integrals, [x[:reached] for x in (*values[:3], times)])
            finer = integrals.reaching(error)
        if finer == integrals:
            return OrderParameters(*values, steps, reached, error)  # type: ignore[arg-type]


def _integral_error(case: Case, integrals: Integrals, states: Sequence[Any]) -> float:
    """The largest error of the Gaussian averages at some of the given states (Q, R, v, t)."""
    if np.isinf(integrals.accuracy):
        return integrals.known_error
    some = np.linspace(0, len(states[0]) - 1, ERRORS_ALONG).astype(int)
    rest, T = case._replace(spectrum=None, v_teacher=np.atleast_2d(case.v_teacher)), case.spectrum.teacher_overlap
    return float(call(integral_errors, rest, T, *(values[some] for values in states), integrals=integrals)[0].max())


def integral_errors(
    case: Case, T: Float[Array, "M M"], *states: Float[Array, "time ..."], integrals: Integrals
) -> tuple[Float[Array, "time"]]:
    """Estimated errors of the Gaussian averages at some states (Q, R, v, t) of a trajectory."""

    def of_state(state):
        Q, R, v, t = state
        c = signed_weights(case.rates, v, case.v_teacher[task_at(case.rates, t)])
        return integrals.error(field_covariance(Q, R, T), c, len(v))

    return (lax.map(of_state, states),)

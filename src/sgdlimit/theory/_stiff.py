"""A step for spectra whose largest eigenvalues relax long before the smallest begin to.

An explicit step is of the order of 1/(ηω) of the largest eigenvalue ω at most, and a power law over six decades takes
millions of them. But the equations of a node are linear in its q and r, and nodes see each other through the few
numbers Q, R and v alone. So the Jacobian is J = D + B E: D acts on each node for itself and is diagonal in the
eigenvectors of H, B is the derivative by (Q, R, v), and E the sums that make these. A system (1/(γh) − J) x = b, all
that a Rosenbrock step needs, takes a time proportional to the number of nodes (Woodbury's formula).
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ..rules import Averages, Scalar
from ._equations import Case, State, forces_at, moment_at, schedule_at

# Rodas5P: G. Steinebach, BIT Numer. Math. 63, 27 (2023). Order 5, L-stable, in the form without products J x.
GAMMA = 0.21193756319429014
FACTORS = np.zeros((2, 8, 8))
STAGES, SHIFTS = FACTORS
"""Weights of the stages before in each stage, and of their part that falls like 1/h."""
STAGES[np.tril_indices(6, -1)] = (
    3.0,
    2.849394379747939, 0.45842242204463923,
    -6.954028509809101, 2.489845061869568, -10.358996098473584,
    2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641,
    -7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946,
)  # fmt: skip
STAGES[6:, :5] = STAGES[5, :5]  # the last three differ only in the stages that they add
STAGES[6:, 5] = STAGES[7, 6] = 1.0
SHIFTS[np.tril_indices(8, -1)] = (
    -14.155112264123755,
    -17.97296035885952, -2.859693295451294,
    147.12150275711716, -1.41221402718213, 71.68940251302358,
    165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306,
    24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471,
    30.91273214028599, -3.1208243349937974, 77.79954646070892, 34.28646028294783, -19.097331116725623,
    -28.087943162872662,
    37.80277123390563, -3.2571969029072276, 112.26918849496327, 66.9347231244047, -40.06618937091002,
    -54.66780262877968, -9.48861652309627,
)  # fmt: skip
TIMES = np.array([0.0, 0.6358126895828704, 0.4095798393397535, 0.9769306725060716, 0.4288403609558664, 1.0, 1.0, 1.0])
SLOPES = np.array([
    0.21193756319429014, -0.42387512638858027, -0.3384627126235924, 1.8046452872882734, 2.325825639765069, 0, 0, 0
])  # fmt: skip
BETWEEN = np.array([
    [25.948786856663858, -2.5579724845846235, 10.433815404888879, -2.3679251022685204,
     0.524948541321073, 1.1241088310450404, 0.4272876194431874, -0.17202221070155493],
    [-9.91568850695171, -0.9689944594115154, 3.0438037242978453, -24.495224566215796,
     20.176138334709044, 15.98066361424651, -6.789040303419874, -6.710236069923372],
    [11.419903575922262, 2.8879645146136994, 72.92137995996029, 80.12511834622643,
     -52.072871366152654, -59.78993625266729, -0.15582684282751913, 4.883087185713722],
])  # fmt: skip

Sums = tuple[Float[Array, "K K"], Float[Array, "K M"], dict[str, Any]]


def _sums(state: State) -> Sums:
    return state.Q, state.R, state.head


def _with(state: State, sums: Sums) -> State:
    return state._replace(**dict(zip(("Q", "R", "head"), sums, strict=True)))


class _Between(dfx.AbstractLocalInterpolation):
    """Q, R and v between the ends of a step; what belongs to the nodes stays as it was at its start."""

    t0: Any
    t1: Any
    y0: State
    y1: Sums
    bends: tuple[Float[Array, "3 K K"], Float[Array, "3 K M"], dict[str, Any]]

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> State:
        """The state at the time t0."""
        x = (t0 - self.t0) / (self.t1 - self.t0)

        def between(y0, y1, bend):
            return (1 - x) * y0 + x * (y1 + (1 - x) * (bend[0] + x * (bend[1] + x * bend[2])))

        return _with(self.y0, jax.tree.map(between, _sums(self.y0), self.y1, self.bends))


class Rosenbrock(dfx.AbstractAdaptiveSolver):
    """The method Rodas5P for the equations of motion, with their exact Jacobian."""

    case: Case
    """As from :func:`~sgdlimit.theory._equations.start`."""
    averages: Averages
    level: Callable[[Scalar, State], Scalar]
    """Takes the place of the error's own derivative: its change by the local error is bounded too."""
    average: Callable[[State], State]
    """Over the symmetry of the start."""
    term_structure: ClassVar = dfx.ODETerm
    interpolation_cls: ClassVar = _Between

    def order(self, terms: Any) -> int:
        """Order of convergence."""
        return 5

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> None:
        """Nothing is carried from step to step."""

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> State:
        """Derivative of the state."""
        return terms.vf(t0, y0, args)

    def step(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any) -> Any:
        """The state at t1, its local error, and what lies between."""
        h, still = t1 - t0, jax.tree.map(jnp.zeros_like, _sums(y0))
        _, change = jax.linearize(lambda t, sums: terms.vf(t, _with(y0, sums), args), t0, _sums(y0))
        drift = ravel_pytree(change(jnp.ones_like(t0), still))[0]
        solve = self.solver(t0, h, y0, lambda sums: change(jnp.zeros_like(t0), sums))
        flat, shaped = ravel_pytree(y0)

        def stage(found, numbers):
            i, factors, time, part = numbers
            y, shift = factors @ found
            slope = ravel_pytree(terms.vf(t0 + time * h, shaped(flat + y), args))[0]
            return found.at[i].set(ravel_pytree(solve(shaped(slope + shift / h + h * part * drift)))[0]), None

        numbers = jnp.arange(len(TIMES)), FACTORS.swapaxes(0, 1), TIMES, SLOPES
        found, _ = jax.lax.scan(stage, jnp.zeros((len(TIMES), len(flat))), numbers)
        y1, error = shaped(flat + STAGES[-1] @ found + found[-1]), shaped(found[-1])
        _, of_level = jax.jvp(lambda sums: self.level(t1, _with(y1, sums)), (_sums(y1),), (_sums(error),))
        between = {"y0": y0, "y1": _sums(y1), "bends": jax.vmap(lambda x: _sums(shaped(x)))(BETWEEN @ found)}
        return y1, error._replace(error=of_level), between, None, dfx.RESULTS.successful

    def solver(self, t: Scalar, h: Scalar, state: State, coupled: Callable[[Sums], State]) -> Callable[[State], State]:
        """A function that solves (1/(γh) − J) x = b, given B as a function of a change of (Q, R, θ).

        The sums E x solve a small system, and then x is (1/(γh) − D)⁻¹ (b + B E x).
        """
        spectrum, rule = self.case.spectrum, self.case.rates
        omega, weights = jnp.asarray(spectrum.eigenvalues), jnp.asarray(spectrum.weights)
        eta, z = rule.learning_rate * schedule_at(rule, t), 1 / (GAMMA * h)
        H, A, *_ = forces_at(moment_at(t, state, self.case), self.averages)
        rates, modes = jnp.linalg.eigh(H)
        rates = eta * (omega * rates[:, None] + rule.weight_decay)
        both, pairs = jnp.kron(modes, modes), (z + rates[:, None] + rates).reshape(-1, len(omega))

        def alone(b):
            """Each node for itself, (1/(γh) − D) x = b."""
            r = jnp.tensordot(modes, jnp.tensordot(modes.T, b.r, 1) / (z + rates[:, None]), 1)
            pull = eta * jnp.tensordot(A, jnp.swapaxes(r, 0, 1), 1)
            q = (b.q - pull - jnp.swapaxes(pull, 0, 1)).reshape(pairs.shape)
            q = (both @ ((both.T @ q) / pairs)).reshape(b.q.shape)
            head = jax.tree.map(lambda x: x / z, b.head)
            return self.average(State(q, r, q @ (weights * omega), r @ weights, head, jnp.zeros(()), {}))

        def summed(b):
            return ravel_pytree(_sums(alone(b)))[0]

        flat, shaped = ravel_pytree(_sums(state))
        units = jnp.eye(len(flat))
        inverse = jnp.linalg.inv(units - jax.lax.map(lambda sums: summed(coupled(shaped(sums))), units).T)
        return lambda b: alone(jax.tree.map(jnp.add, b, coupled(shaped(inverse @ summed(b)))))

"""Settings of JAX that are not ours, other processes, and what they need to be sent."""

import copy
import itertools
import os
import pickle
import subprocess
import sys
from contextlib import ExitStack

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.rules import ACTIVATIONS
from sgdlimit.theory import _compiled as compiled

PROBLEM = sl.Problem(input_dim=20, latent_dim=10, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2)
TIMES = [0.5, 1.0]

FORK = """
import multiprocessing, warnings
from functools import partial
import jax.numpy as jnp
import sgdlimit as sl

warnings.simplefilter("ignore", RuntimeWarning)  # JAX's, at every fork
problem = sl.Problem(input_dim=20, latent_dim=10, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2)
instances = [problem.draw(seed) for seed in range(2)]
solve, simulate = partial(sl.solve, times=[0.5, 1.0]), partial(sl.simulate, times=[0.5, 1.0])
solved, simulated = list(map(solve, instances)), list(map(simulate, instances))

def refused(instance):
    try:
        sl.solve(instance, [0.5, 1.0])
    except sl.ProblemError as error:
        return str(error)

with multiprocessing.get_context("fork").Pool(2) as pool:
    for message in pool.map(refused, instances):
        assert message.startswith("multiprocessing: must start processes by spawn"), message
    assert all(one.equals(each) for one, each in zip(pool.map(simulate, instances), simulated))
with multiprocessing.get_context("spawn").Pool(1) as pool:
    own = instances[0].replace(activation=sl.Activation(lambda x: jnp.tanh(x), name="own"))
    sgd = simulate(own)
    assert pool.apply(simulate, [own]).equals(sgd)
    assert pool.apply(solve, [instances[0]]).equals(solved[0])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_spawned_processes_give_the_same_bits_and_forked_ones_refuse_jax():
    """None hangs."""
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=120)


@pytest.mark.filterwarnings("ignore:A worker stopped")  # joblib's of compilers, which take more than 300 MB
def test_joblib_gives_the_same_bits():
    joblib = pytest.importorskip("joblib", reason="joblib comes with scikit-learn: pip install 'sgdlimit[data]'")
    drawn = PROBLEM.draw(seed=0)
    calls = [(sl.simulate, drawn.replace(activation=own_function())), (sl.solve, drawn)]
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(function)(instance, TIMES) for function, instance in calls)
    for each, (function, instance) in zip(found, calls, strict=True):
        assert each.identical(function(instance, TIMES))


OTHER_DEVICE = """
import jax
import numpy as np
import sgdlimit as sl
from sgdlimit.theory import _compiled as compiled

first, other = jax.devices("cpu")
used = []
program = compiled._program
compiled._program = lambda *key, **more: used.append(key[-1]) or program(*key, **more)
problem = sl.Problem(input_dim=20, latent_dim=10, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2)
solved = sl.solve(problem.draw(0), [0.5])
with jax.default_device(other):  # as a GPU is, where there is one
    assert sl.solve(problem.draw(0), [0.5]).identical(solved)
assert len(used) >= 2 and set(used) == {first}, used
"""


def test_theory_runs_on_the_first_processor_whatever_jax_prefers():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    subprocess.run([sys.executable, "-c", OTHER_DEVICE], check=True, timeout=120, env=os.environ | {"XLA_FLAGS": flags})


def own_function() -> sl.Activation:
    return sl.Activation(lambda x: x + 0.1 * jnp.sin(x), accuracy=0.5)


def trained(engine: str) -> np.ndarray:
    f = sl.Nonlinearity(lambda u: jnp.clip(u, -1, 1))
    instance = PROBLEM.draw(seed=0).replace(activation=own_function(), nonlinearity=f)
    return sl.simulate(instance, TIMES, engine=engine).Q.values


def solved(activation: str | sl.Activation) -> np.ndarray:
    return sl.solve(PROBLEM.draw(seed=0).replace(activation=activation), TIMES).generalization_error.values


@pytest.mark.parametrize(
    "result",
    [lambda: [trained("numba"), trained("jax")], lambda: solved("erf"), lambda: solved(own_function())],
    ids=["SGD", "theory", "theory of a function of one's own"],
)
def test_settings_of_jax_change_nothing(monkeypatch, result):
    """Nor do programs that are kept: those of the hostile settings are compiled anew."""
    plain, before = result(), dict(jax.config.values)
    hostile = {
        "numpy_rank_promotion": "raise",
        "numpy_dtype_promotion": "strict",
        "check_tracer_leaks": True,
        "debug_nans": True,
        "debug_infs": True,
        "enable_checks": True,
        "disable_jit": True,
        "enable_x64": True,
        "transfer_guard": "disallow",
        "thread_guard": True,
        "default_matmul_precision": "bfloat16",
    }
    monkeypatch.setenv("SGDLIMIT_CACHE_DIR", "")
    compiled._programs.clear()
    with ExitStack() as stack:
        for name, value in hostile.items():
            stack.enter_context(getattr(jax, name)(value))
        np.testing.assert_array_equal(result(), plain)
    assert jax.config.values == before


def test_instances_travel():
    slope = 0.3
    own = sl.Activation(lambda x: x + slope * jnp.sin(x), name="own")
    drawn = PROBLEM.draw(seed=0)
    instances = [drawn.replace(activation=g) for g in (*ACTIVATIONS, own, sl.Activation(jnp.tanh)) if g != "sign"]
    instances += [
        drawn.replace(nonlinearity=sl.Nonlinearity(lambda u: slope * u, name="own"), teacher_activation="sign"),
        drawn.replace(activation=sl.Activation.polynomial([0, 1, slope])),
        drawn.replace(training=sl.Training(schedule=sl.Schedule.of(lambda t: np.exp(-t), TIMES))),
        drawn.replace(latent=sl.MixtureLaw(np.ones((2, 10)))),
        sl.Instance.from_covariance(
            np.eye(5), np.ones((1, 5)), [1], np.ones((1, 5)), [1], activation="relu", learning_rate=1
        ),
    ]
    ways = lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy
    for instance, copied in itertools.product(instances, ways):
        arrived = copied(instance)
        assert arrived.provenance() == instance.provenance()
        assert (arrived.activation, hash(arrived.activation)) == (instance.activation, hash(instance.activation))
        named = ACTIVATIONS.get(instance.activation.name) is instance.activation
        assert (arrived.activation is instance.activation) == named
        for x, y in ((arrived.activation, instance.activation), (arrived.f, instance.f)):
            np.testing.assert_array_equal(x.value(np.array(TIMES)), y.value(np.array(TIMES)))
        copied(instance.f)

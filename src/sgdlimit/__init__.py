"""Theory and simulation of online learning in two-layer networks on structured inputs.

Everything public is here; what it needs is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sgdlimit import datasets, theory
    from sgdlimit.activations import Activation
    from sgdlimit.comparison import compare
    from sgdlimit.continual import forgetting_and_transfer
    from sgdlimit.diagnosis import Diagnosis, diagnose
    from sgdlimit.errors import AccuracyWarning, DivergenceError, DivergenceWarning, ProblemError, SweepError
    from sgdlimit.explorer import explore
    from sgdlimit.hidden_manifold_cpp import from_hidden_manifold_cpp
    from sgdlimit.inputs.clusters import ClusterMixture
    from sgdlimit.inputs.empirical import Empirical
    from sgdlimit.inputs.latent import Gaussian, LatentLaw, MixtureLaw
    from sgdlimit.inputs.manifold import Nonlinearity
    from sgdlimit.instance import Instance
    from sgdlimit.problem import GaussianMixture, Problem
    from sgdlimit.simulation import simulate, simulate_together
    from sgdlimit.sweep import Sweep, compute_sweep, open_sweep
    from sgdlimit.theory import solve
    from sgdlimit.training import Schedule, Training
    from sgdlimit.trajectory import load, log_times, save

_HOME = {
    "Activation": "activations",
    "compare": "comparison",
    "Diagnosis": "diagnosis",
    "diagnose": "diagnosis",
    "forgetting_and_transfer": "continual",
    "AccuracyWarning": "errors",
    "DivergenceError": "errors",
    "DivergenceWarning": "errors",
    "ProblemError": "errors",
    "SweepError": "errors",
    "explore": "explorer",
    "from_hidden_manifold_cpp": "hidden_manifold_cpp",
    "ClusterMixture": "inputs.clusters",
    "Empirical": "inputs.empirical",
    "Gaussian": "inputs.latent",
    "LatentLaw": "inputs.latent",
    "MixtureLaw": "inputs.latent",
    "GaussianMixture": "problem",
    "Instance": "instance",
    "Nonlinearity": "inputs.manifold",
    "Problem": "problem",
    "simulate": "simulation",
    "simulate_together": "simulation",
    "solve": "theory",
    "Sweep": "sweep",
    "compute_sweep": "sweep",
    "open_sweep": "sweep",
    "Schedule": "training",
    "Training": "training",
    "load": "trajectory",
    "log_times": "trajectory",
    "save": "trajectory",
}

__all__ = [
    "AccuracyWarning",
    "Activation",
    "ClusterMixture",
    "Diagnosis",
    "DivergenceError",
    "DivergenceWarning",
    "Empirical",
    "Gaussian",
    "GaussianMixture",
    "Instance",
    "LatentLaw",
    "MixtureLaw",
    "Nonlinearity",
    "Problem",
    "ProblemError",
    "Schedule",
    "Sweep",
    "SweepError",
    "Training",
    "compare",
    "compute_sweep",
    "datasets",
    "diagnose",
    "explore",
    "forgetting_and_transfer",
    "from_hidden_manifold_cpp",
    "load",
    "log_times",
    "open_sweep",
    "save",
    "simulate",
    "simulate_together",
    "solve",
    "theory",
]


def __getattr__(name: str) -> Any:
    if name in ("datasets", "theory"):
        return import_module(f"sgdlimit.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'sgdlimit' has no attribute {name!r}")
    value = getattr(import_module(f"sgdlimit.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

"""The network that is diagnosed where the user gives data or a law only."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from ..errors import unknown_name
from ..inputs import Affine, Empirical, LatentLaw
from ..instance import Instance
from ..problem import Problem

Role = Literal["inputs", "latent"]
Preprocess = Literal["standardize", "centre", "none"]


def default_network(
    source: LatentLaw | ArrayLike,
    *,
    role: Role | None = None,
    preprocess: Preprocess = "standardize",
    activation: str = "erf",
    learning_rate: float = 0.2,
    input_dim: int = 1000,
    seed: int = 0,
    attrs: Mapping[str, Any] | None = None,
) -> Instance:
    """A network of two student and two teacher units, with normal weights, for samples or a law.

    Parameters
    ----------
    source
        Samples, shape (count, D), of which each step draws one, or a law that fixes the number of its coordinates.
    role
        ``"inputs"``: student and teacher see the data themselves, N = D. ``"latent"``: the data are the latent of a
        hidden manifold X = sign(CF/√D), the teacher sees C and the student X. By default samples are inputs, and a law
        is the law of the latent.
    preprocess
        ``"standardize"`` subtracts the mean and divides by the deviation, coordinate by coordinate (19), ``"centre"``
        only subtracts; ``"none"`` leaves the data as they are. ``attrs["mean_removed"]`` keeps the mean that was
        subtracted, over the deviation.
    activation, learning_rate
        g and η.
    input_dim
        N of the manifold.
    seed
        Seed of weights, teacher and features.
    attrs
        Provenance to keep.

    Returns
    -------
    Instance

    Raises
    ------
    ProblemError
        If a setting or the data cannot be used.
    """
    law = source if isinstance(source, LatentLaw) else Empirical(source)
    role = role or ("latent" if law is source else "inputs")
    for name, value, known in (("role", role, Role), ("preprocess", preprocess, Preprocess)):
        if value not in get_args(known):
            raise unknown_name(name, value, get_args(known))
    D = law.check_dim(law.dim)
    mean, variance = law.mean(D), law.covariance(D).diagonal()
    removed = 0.0 if preprocess == "none" else float(np.sqrt(np.mean(np.square(mean) / variance)))
    scale = np.sqrt(variance) if preprocess == "standardize" else np.ones(D)
    if removed > 1e-9 or np.abs(scale - 1).max() > 1e-9:
        law = Affine(law, mean, scale)
    settings: dict[str, Any] = {"activation": activation, "learning_rate": learning_rate}
    manifold: dict[str, Any] = {}
    if role == "inputs":
        input_dim, manifold = D, {"features": "identity", "nonlinearity": "identity"}
    problem = Problem(input_dim=input_dim, latent_dim=D, student_units=2, teacher_units=2, **settings, **manifold)
    drawn = problem.draw(seed)
    attrs = {**drawn.attrs, **(attrs or {}), "role": role, "preprocess": preprocess, "mean_removed": removed}
    if role == "latent":
        return drawn.replace(latent=law, attrs=attrs)
    weights = (drawn.student, drawn.student_output, drawn.teacher, drawn.teacher_output)
    return Instance.from_inputs(law, *weights, **settings, attrs=attrs)

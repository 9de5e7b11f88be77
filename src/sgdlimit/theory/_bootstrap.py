"""The uncertainty of a theory made from finite data: the bootstrap with random weights (Rubin 1981)."""

import numpy as np
from numpy.typing import ArrayLike
from xarray import Dataset

from ..inputs import Affine
from ..instance import Instance
from ..settings import check_whole
from ..signatures import checked
from ._integrate import Solver
from ._quadrature import STEPS
from ._solve import trajectories
from ._spectrum import reduce
from ._theories import averages_of, case_of, spectrum

LARGEST = 10
"""Eigenvalues that are reported."""


@checked
def bootstrap(
    instance: Instance, times: ArrayLike, *, resamples: int = 20, seed: int = 0, nodes: int | None = None
) -> Dataset:
    """Moment-matched theory of finite data, with its standard errors.

    Ω, Φ and T of the samples are estimates for the law that the samples came from. Each resample gives the samples
    random probabilities, uniform among all, and has a spectrum and a trajectory of its own. The deviation of the
    resamples is the standard error of the theory. The offset of their mean is its bias, because a covariance of few
    samples has its eigenvalues too far apart. The bias is of order N/count, and is subtracted from the result.

    Parameters
    ----------
    instance
        An instance whose inputs or latent are data, see :meth:`sgdlimit.Instance.from_inputs` and
        :class:`sgdlimit.Empirical`.
    times
        Output times t = step/N, shape (time,), increasing, from 0 on.
    resamples
        Number of resamples, at least 2. With 20, the standard errors are accurate to a sixth.
    seed
        Seed of the resampling.
    nodes
        The most nodes of each spectrum, see :func:`sgdlimit.theory.reduce`, which also has their number by default.

    Returns
    -------
    xarray.Dataset
        A trajectory as from :func:`sgdlimit.solve`, corrected for its bias; beside each variable one of its standard
        error, ``Q_stderr``, ..., and one of the bias that was subtracted, ``Q_bias``, .... Likewise
        ``teacher_overlap``, T, and ``eigenvalue`` (rank,), the largest ones of Ω.

    Raises
    ------
    ProblemError
        If the law is no finite set of samples, or as of :func:`sgdlimit.solve`.

    Examples
    --------
    >>> import sgdlimit as sl
    >>> rng = np.random.default_rng(0)
    >>> W, teacher = rng.normal(size=(2, 1, 20))
    >>> data = sl.Instance.from_inputs(rng.normal(size=(500, 20)), W, [0.5], teacher, [1.0],
    ...                                activation="linear", learning_rate=0.2, centre=True)
    >>> result = bootstrap(data, [1.0], resamples=3)
    >>> result["R_stderr"].dims
    ('time', 'student', 'teacher')
    """
    check_whole(2, resamples=resamples)
    law = instance.latent
    laws = [law, *map(law.reweighted, np.random.default_rng(seed).spawn(resamples))]
    # A resample's mean is one more error of the mean, which is no part of Ω.
    laws[1:] = [Affine(each, each.mean(instance.latent_dim)) for each in laws[1:]]
    instances = [instance.replace(latent=each) for each in laws]
    full = [spectrum(each, "moment-matched") for each in instances]
    most = STEPS * (len(instance.student) + len(instance.teacher) + 1) if nodes is None else nodes
    few = [each if len(each.eigenvalues) <= most else reduce(each, most) for each in full]
    cases = [case_of(*pair, "moment-matched") for pair in zip(instances, few, strict=True)]
    attrs = instance.provenance(theory="moment-matched", resamples=resamples, seed=seed)
    largest = []
    for each in full:  # the largest eigenvalues, as often as they occur
        copies = np.rint(each.weights * instance.input_dim).astype(int).clip(1, LARGEST)
        largest.append(np.sort(np.repeat(each.eigenvalues, copies))[::-1][:LARGEST])
    solved = trajectories(cases, times, Solver(averages_of(instance)), attrs).assign(
        teacher_overlap=(("case", "teacher", "teacher_"), [each.teacher_overlap for each in full]),
        eigenvalue=(("case", "rank"), largest),
    )
    solved = solved.drop_vars(["learning_rate", "diverged_at"])
    # The first case, and what the others say of its error.
    estimate, others = solved.isel(case=0, drop=True), solved.isel(case=slice(1, None))
    bias, deviation = others.mean("case") - estimate, others.std("case", ddof=1)
    corrected = estimate - bias
    for name in solved:
        corrected[name].attrs = solved[name].attrs
        corrected[f"{name}_stderr"], corrected[f"{name}_bias"] = deviation[name], bias[name]
    return corrected.assign_attrs(solved.attrs)

"""The sections on what the paper does not have."""

import xarray as xr

from . import _findings as findings
from ._contents import Section, numbers

__all__ = ["beyond_the_paper"]


def beyond_the_paper(
    sizes: xr.Dataset, mixture: xr.Dataset, correlations: xr.Dataset, expectations: xr.Dataset
) -> list[Section]:
    """One section for each study."""
    return [
        Section(
            "Beyond the paper: how fast SGD approaches theory",
            "All runs have N = 1000; the equations hold for N → ∞.",
            [findings.size_verdict(sizes)],
            ["finite_size"],
            [numbers("Exponent of N, with its standard error over instances", findings.size_exponents(sizes), "{}")],
            said="In the paper",
        ),
        Section(
            "Beyond the paper: how good the mixture theory is",
            "There is no such theory: its equations are for inputs without a mean.",
            [
                findings.mixture_size_verdict(mixture),
                findings.mixture_precision_verdict(mixture),
                findings.mixture_fluctuations(mixture),
            ],
            ["mixture_theory"],
            [numbers("Single SGD runs against N, mean ± standard error", findings.mixture_sizes(mixture), "{}")],
            said="In the paper",
        ),
        Section(
            "Beyond the paper: Lemma V.1 in numbers",
            "For weakly correlated mixture variables E f(u1) g(u2) is a sum of products of means over the components, "
            "up to O(ε) (Lemma V.1).",
            [findings.correlation_verdict(correlations)],
            ["lemma_V1"],
            [
                numbers(
                    f"Order of the error in ε, least over α = {correlations['spread'].values[0]:g} to "
                    f"{correlations['spread'].values[-1]:g}",
                    findings.correlation_orders(correlations),
                    "{:.2f}",
                )
            ],
        ),
        Section(
            "Beyond the paper: Lemma V.3 in numbers",
            "Where derivatives of f beyond the second are negligible, E f depends on mean and variance alone; erf, "
            "ReLU and sgn approximately satisfy this (Lemmas V.3 and C.1).",
            [findings.expectation_verdict(expectations)],
            ["lemma_V3"],
        ),
    ]

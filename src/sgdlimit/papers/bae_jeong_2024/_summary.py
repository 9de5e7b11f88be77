"""The head of the page: the results in short, and the settings."""

import json

import numpy as np
import xarray as xr

from ...plotting import ACTIVATION_LABELS
from . import _findings as findings
from ._claims import has_two
from ._tables import flatness, flatness_statement

__all__ = ["settings", "summary"]


def summary(grid: xr.Dataset, blocks: xr.Dataset, activations: list[str]) -> dict[str, list[str]]:
    """The results in short, by topic."""
    return {
        "Standardised mixtures": [findings.discrepancy_verdict(grid, name, True) for name in activations],
        "Flat in α?": [
            f"{ACTIVATION_LABELS[name]}: {flatness_statement(flatness(grid, name))}"
            for name in activations
            if has_two(grid)
        ],
        "Un-standardised mixtures": [findings.discrepancy_verdict(grid, name, False) for name in activations],
        "Un-standardised, with the mixture theory": [
            findings.mixture_discrepancy_verdict(grid, name) for name in activations
        ],
        "Blocks of correlated coordinates": [
            findings.block_verdict(blocks, name, standardized) for standardized in (True, False) for name in activations
        ],
    }


def settings(grid: xr.Dataset, blocks: xr.Dataset, theory: xr.Dataset, sgd: xr.Dataset) -> dict[str, str]:
    """What was computed, by name."""

    def listed(values: np.ndarray) -> str:
        return ", ".join(f"{value:g}" if isinstance(value, float | np.floating) else str(value) for value in values)

    times = theory["time"].values
    kept = ", ".join(
        f"{int(count)} ({ACTIVATION_LABELS[str(name)]})"
        for name, count in zip(grid["activation"].values, grid["kept"].sum("instance").values, strict=True)
    )
    example = ", ".join(f"{key} {sgd.attrs[key]}" for key in ("components", "spread", "instance") if key in sgd.attrs)
    problem = json.loads(grid.attrs.get("problem", "{}"))
    named = {"input_dim": "N", "latent_dim": "D", "learning_rate": "η", "nonlinearity": "f"}
    network = ", ".join(f"{symbol} = {problem[key]}" for key, symbol in named.items() if key in problem)
    return ({"Network": network} if network else {}) | {
        "Student and teacher": f"K = {theory.sizes['student']}, M = {theory.sizes['teacher']} hidden units",
        "Activations": ", ".join(ACTIVATION_LABELS[str(name)] for name in grid["activation"].values),
        "Time": f"t = steps/N from {times[0]:g} to {times[-1]:g}, {len(times)} log-spaced points",
        "Components m": listed(grid["components"].values),
        "Range α of the means": listed(grid["spread"].values),
        "Instances": f"{grid.sizes['instance']}, of which kept: {kept}",
        "Example": f"{example}; {sgd.sizes['run']} SGD runs",
        "Block sizes B": f"{listed(blocks['block_size'].values)}; α = {listed(blocks['spread'].values)}; "
        f"{blocks.sizes['instance']} instances",
    }

"""Figures and tables, drawn from datasets and from nothing else."""

from sgdlimit.figures._style import save_figure
from sgdlimit.figures.diagnosis import diagnosis
from sgdlimit.figures.discrepancy import discrepancy_against_kl
from sgdlimit.figures.dynamics import example_dynamics, saturation_time, trajectory
from sgdlimit.figures.finite_size import finite_size
from sgdlimit.figures.hover import Panel, hover_panels
from sgdlimit.figures.laws import kl_against_spread, sample_mean_law
from sgdlimit.figures.lemmas import lemma_correlation, lemma_expectation
from sgdlimit.figures.mixture_theory import mixture_theory
from sgdlimit.figures.optimal_schedule import optimal_schedule
from sgdlimit.figures.order_parameters import order_parameters
from sgdlimit.figures.paper import paper_figures
from sgdlimit.figures.phase_diagram import phase_diagram
from sgdlimit.figures.sweep import sweep_discrepancy
from sgdlimit.figures.tables import discrepancy_table, flatness, flatness_statement, write_table
from sgdlimit.figures.universality import universality

__all__ = [
    "Panel",
    "diagnosis",
    "discrepancy_against_kl",
    "discrepancy_table",
    "example_dynamics",
    "finite_size",
    "flatness",
    "flatness_statement",
    "hover_panels",
    "kl_against_spread",
    "lemma_correlation",
    "lemma_expectation",
    "mixture_theory",
    "optimal_schedule",
    "order_parameters",
    "paper_figures",
    "phase_diagram",
    "sample_mean_law",
    "saturation_time",
    "save_figure",
    "sweep_discrepancy",
    "trajectory",
    "universality",
    "write_table",
]

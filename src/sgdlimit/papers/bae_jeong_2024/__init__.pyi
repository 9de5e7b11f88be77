from ._averages import Study as Study
from ._figure_discrepancy import discrepancy_against_kl as discrepancy_against_kl, universality as universality
from ._figure_studies import (
    finite_size as finite_size,
    lemma_correlation as lemma_correlation,
    lemma_expectation as lemma_expectation,
    mixture_theory as mixture_theory,
)
from ._figures import (
    example_dynamics as example_dynamics,
    kl_against_spread as kl_against_spread,
    paper_figures as paper_figures,
    sample_mean_law as sample_mean_law,
)
from ._page import write_report as write_report
from ._paper import PRESETS as PRESETS
from ._reproduction import memory_of_preset as memory_of_preset, redraw as redraw, reproduce as reproduce
from ._tables import (
    discrepancy_table as discrepancy_table,
    flatness as flatness,
    flatness_statement as flatness_statement,
    write_table as write_table,
)

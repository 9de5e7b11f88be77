"""Theory: the equations of motion of the order parameters, for any inputs that have a spectrum."""

from sgdlimit.theory.batch import solve_many
from sgdlimit.theory.bootstrap import bootstrap
from sgdlimit.theory.exactness import exactness
from sgdlimit.theory.limit import marchenko_pastur
from sgdlimit.theory.mixture import over_ensemble, solve_mixture, stability_edge
from sgdlimit.theory.optimal import Optimum, optimal_schedule
from sgdlimit.theory.phases import phase_diagram, plateau_exit
from sgdlimit.theory.solve import solve, solve_spectrum
from sgdlimit.theory.spectrum import Spectrum, reduce, spectrum, spectrum_of

__all__ = [
    "Optimum",
    "Spectrum",
    "bootstrap",
    "exactness",
    "marchenko_pastur",
    "optimal_schedule",
    "over_ensemble",
    "phase_diagram",
    "plateau_exit",
    "reduce",
    "solve",
    "solve_many",
    "solve_mixture",
    "solve_spectrum",
    "spectrum",
    "spectrum_of",
    "stability_edge",
]

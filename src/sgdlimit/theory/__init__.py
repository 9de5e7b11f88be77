"""Theory: the equations of motion of the order parameters, for any inputs that have a spectrum."""

from sgdlimit.theory.batch import solve_many
from sgdlimit.theory.bootstrap import bootstrap
from sgdlimit.theory.limit import marchenko_pastur
from sgdlimit.theory.solve import solve, solve_spectrum
from sgdlimit.theory.spectrum import Spectrum, reduce, spectrum, spectrum_of

__all__ = [
    "Spectrum",
    "bootstrap",
    "marchenko_pastur",
    "reduce",
    "solve",
    "solve_many",
    "solve_spectrum",
    "spectrum",
    "spectrum_of",
]

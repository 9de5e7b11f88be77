"""Theory: the equations of motion of the order parameters, for any inputs that have a spectrum."""

from sgdlimit.theory.batch import solve_many
from sgdlimit.theory.solve import solve, solve_spectrum
from sgdlimit.theory.spectrum import Spectrum, reduce, spectrum, spectrum_of

__all__ = ["Spectrum", "reduce", "solve", "solve_many", "solve_spectrum", "spectrum", "spectrum_of"]

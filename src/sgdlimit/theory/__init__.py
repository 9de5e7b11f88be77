"""Theory: the equations of motion of the order parameters, for any inputs that have a spectrum."""

from sgdlimit.theory.solve import solve, solve_spectrum
from sgdlimit.theory.spectrum import Spectrum, spectrum, spectrum_of

__all__ = ["Spectrum", "solve", "solve_spectrum", "spectrum", "spectrum_of"]

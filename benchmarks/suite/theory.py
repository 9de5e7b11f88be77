"""The equations of motion."""

import subprocess
import sys

from sgdlimit.papers.bae_jeong_2024._paper import PRESETS
from sgdlimit.theory import solve_spectrum, spectrum

PAPER = PRESETS["paper"]


class Warm:
    """A solution with the spectrum given, compiled already."""

    params = (("erf", "relu"), (2, 4, 8))
    param_names = ("activation", "units")
    timeout = 300

    def setup(self, activation, units):
        """Draw, diagonalise, compile."""
        problem = PAPER.problem.replace(student_units=units, teacher_units=units)
        instance = problem.draw(0)
        self.arguments = spectrum(instance), instance.student_output, instance.teacher_output
        self.settings = {"activation": activation, "learning_rate": problem.learning_rate, "times": PAPER.times}
        self.time_solve(activation, units)

    def time_solve(self, activation, units):
        """Q, R, v and ε_g at 200 times."""
        solve_spectrum(*self.arguments, **self.settings)


class Spectra:
    """Eigenvalues and overlaps of an instance."""

    params = ("conventional", "moment-matched")
    param_names = ("theory",)

    def setup(self, theory):
        """Draw."""
        self.instance = PAPER.problem.draw(0)

    def time_spectrum(self, theory):
        """Diagonalise."""
        spectrum(self.instance, theory)


class NewProcess:
    """What a new process waits for."""

    def time_import(self):
        """``import sgdlimit``."""
        subprocess.run([sys.executable, "-c", "import sgdlimit"], check=True)

    def time_help(self):
        """``sgdlimit --help``."""
        subprocess.run([sys.executable, "-m", "sgdlimit", "--help"], check=True, capture_output=True)

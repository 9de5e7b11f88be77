"""SGD on a page: one button streams it over the curves, another stops it, and M settles in a table below."""

from collections.abc import Generator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import panel as pn
from xarray import Dataset, align

from ..comparison import AGREEMENT, compare
from ..inputs import Gaussian
from ..simulation import simulate_live
from ..trajectory import error_of, variable
from ._curves import Curves, curves, drawn, times_of
from ._shown import Shown
from ._style import button, note, text
from ._turns import ACTIVE, Turn
from ._view import View

PUSH, EVERY = 0.2, 5
"""Seconds between two pictures of SGD, more where many pages stream, and pictures from one table to the next."""
TEST_SAMPLES = 4000


class Streamed(NamedTuple):
    """SGD of a view and its noise floor so far."""

    done: float = 0.0
    """The fraction that is done."""
    sgd: Dataset | None = None
    floor: Dataset | None = None


def stream(view: View) -> Generator[Streamed]:
    """Yield SGD of a view so far, again and again.

    The instance is drawn when the first item is taken. The noise floor is SGD of the same network on Gaussian inputs
    with the same noise. If the inputs are Gaussian already, every other run serves as the floor.
    """
    instance, sgd, floor = drawn(view.problem, view.seed), None, None
    overlaps = tuple(curves(view).theories) or ("conventional",)  # the theories that apply to the law
    gaussian = isinstance(instance.latent, Gaussian)
    instances = [instance] if gaussian else [instance, instance.replace(latent=Gaussian())]
    options = {"runs": view.runs * (1 + gaussian), "seed": view.seed, "test_samples": TEST_SAMPLES}
    for done, parts in simulate_live(instances, times_of(view), overlaps=overlaps, **options):
        if parts:
            sgd, floor = [parts[0].isel(run=slice(n, None, 2)) for n in (0, 1)] if gaussian else parts
        yield Streamed(done, sgd, floor if floor is not None and floor.sizes["run"] else None)


class Streaming(Shown):
    """A page on which SGD is streamed over the curves of a view.

    Parameters
    ----------
    view
        What it shows first.
    """

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self.view, self.curves = view, Curves()
        self.turn: Turn | None = None
        """The run whose points are on view, if there is one."""
        self.run_button = button("Run SGD", self.run, color="primary")
        self.stop_button = button("Stop", self.stop, disabled=True)
        self.progress = pn.indicators.Progress(value=0, max=100, sizing_mode="stretch_width", margin=4, visible=False)
        self.run_status, self.numbers = text(), text()

    @property
    def streamed(self) -> Streamed:
        """The runs so far."""
        return (self.turn and self.turn.latest) or Streamed()

    def run(self) -> None:
        """Stream SGD on the settings that are on view."""
        self.turn = Turn(stream(self.view))
        self.turn.start()
        self._report("SGD is running …", busy=True)
        self._follow(self.turn)

    def _follow(self, turn: Turn, pictures: int = 0) -> None:
        """Draw the run so far, at times with its numbers, and call this again until the run has ended."""
        turn.stopped |= not self.watched
        if turn.ended and turn is self.turn:
            words, sgd = "SGD is done.", self.streamed.sgd
            if sgd and "diverged_at" in sgd.attrs:
                words = f"SGD diverged at t = {sgd.attrs['diverged_at']:.3g}. Lower η, learning_rate."
            self._report(str(turn.error or words))
        elif not turn.stopped:
            self.show_runs(numbers=pictures % EVERY == 0)
            self.apply(lambda: self._follow(turn, pictures + 1), PUSH * max(1, len(ACTIVE) / 2))

    def _report(self, words: str, *, busy: bool = False) -> None:
        """Report the state of the run and draw it. One button is always enabled, so that the keyboard can reach it."""
        enabled, other = (self.stop_button, self.run_button) if busy else (self.run_button, self.stop_button)
        enabled.disabled = False
        other.disabled, self.progress.visible = True, busy
        self.run_status.object = note(words)
        self.show_runs()

    def show_runs(self, *, numbers: bool = True) -> None:
        """Draw the runs so far, and write their numbers if the theories on view have the same settings."""
        done, sgd, _ = self.streamed
        self.panels.show_sgd(sgd, self.view.theories)
        self.progress.value = int(100 * done)
        if numbers:
            self.numbers.object = table(self.curves, self.streamed) if self.curves.view is self.view else ""

    def compare(self) -> None:
        """Show M of the theories that have been solved."""
        self.show_runs()
        sgd = self.streamed.sgd
        for name in set(self.curves.theories).difference(sgd["overlaps"].values) if sgd else ():
            self.run_status.object = note(f"SGD was not measured for the {name} theory. Run it again for that.")

    def stop(self) -> None:
        """Stop SGD and keep its points."""
        if self.turn:
            self.turn.stopped = True
        self._report("SGD was stopped.")

    def forget(self) -> None:
        """Stop SGD and remove its points, because they belong to other settings."""
        if self.turn:
            self.turn.stopped = True
        self.turn = None
        self._report("")


def discrepancies(theory: Dataset, runs: Dataset, floor_theory: Dataset, floor: Dataset) -> Dataset:
    """Compute M of one theory, averaged over entries, and its noise floor.

    Parameters
    ----------
    theory, floor_theory
        Theory of the problem, and theory of the same network on Gaussian inputs, for which it is exact.
    runs, floor
        SGD of both so far. All four are cut to the times they have in common.

    Returns
    -------
    xarray.Dataset
        What :func:`sgdlimit.compare` gives, with ``floor`` of each quantity.
    """
    theory, runs, floor_theory, floor = align(
        theory, _complete(runs), floor_theory, _complete(floor), exclude={"run", "overlaps"}
    )
    return compare(theory, runs).assign(floor=compare(floor_theory, floor)["M"])


def _complete(runs: Dataset) -> Dataset:
    """Keep the runs that have reached the last output time. If none has, keep the first run up to its latest time."""
    reached = [error_of(map(str, runs))]
    whole = runs.dropna("run", subset=reached)
    return whole if whole.sizes["run"] else runs.isel(run=[0]).dropna("time", subset=reached)


def table(solved: Curves, streamed: Streamed) -> str:
    """Write M and the noise floor so far as HTML; nothing until there are both. Diverged SGD gets no verdict."""
    _, sgd, floor = streamed
    exact = solved.solved.get("conventional")
    if not (sgd and floor and exact):
        return ""
    # All overlaps are the same on Gaussian inputs.
    floor = floor.isel(overlaps=0, drop=True).assign_attrs(overlaps="conventional")
    frames, attrs = {}, {}
    for name, theory in solved.theories.items():
        if name in sgd["overlaps"]:
            result = discrepancies(theory, sgd, exact, floor)
            frames[name], attrs = result[["M", "M_stderr", "floor", "scale"]].to_dataframe(), result.attrs
    if not frames:
        return ""
    rows: Any = pd.concat(frames, names=["theory"]).reset_index("theory").rename_axis(None)
    rows = rows.rename(index=lambda name: variable(name).symbol)
    M, floors = rows["M"], rows["floor"]
    rows["M/floor"] = M / floors.replace(0, np.nan)
    rows["% of mean |x|"] = 100 * M / rows.pop("scale").replace(0, np.nan)
    verdict = np.where(AGREEMENT * floors >= M, "noise explains it", "beyond noise")
    rows[f"(M ≤ {AGREEMENT:g} × floor)"] = "SGD diverged" if "diverged_at" in sgd.attrs else verdict
    numbers = rows.rename(columns={"M_stderr": "± s.e.", "floor": "noise floor"}).to_html(
        classes="numbers", border=0, float_format="{:.3g}".format, na_rep="–"
    )
    runs, until = attrs["runs"], sgd["time"].values[attrs["times_compared"] - 1]
    return (
        f'<p class="note">M over t ≤ {until:.3g}, {runs} run{"s" * (runs > 1)}. Noise floor: the same network on '
        f"Gaussian inputs.</p><div class='wide'>{numbers}</div>"
    )

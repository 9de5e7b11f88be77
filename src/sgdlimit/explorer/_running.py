"""SGD on a page: one button streams it over the curves, another stops it, and M settles in a table below."""

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import panel as pn
import xarray as xr

from ..comparison import AGREEMENT, compare, measured_for
from ..inputs import Gaussian
from ..simulation import simulate_live
from ..trajectory import VARIABLES
from ._curves import Curves, curves, drawn, times_of
from ._shown import Shown
from ._style import button, note, text
from ._turns import Turn, shared_turns
from ._view import View

PUSH, EVERY = 0.2, 5
"""Seconds between two pictures of SGD, more where many pages stream, and pictures from one table to the next."""
TEST_SAMPLES = 4000
SYMBOLS = {name: variable.symbol for name, variable in VARIABLES.items()}


def stream(view: View) -> Generator[tuple[float, xr.Dataset | None, xr.Dataset | None]]:
    """Yield the part that is done and, where there is something new, SGD and its noise floor so far.

    Whoever takes the first item draws the instance. The floor is the same network on Gaussian inputs with the same
    noise. If the inputs are Gaussian already, it is further runs of the same kind: every other one.
    """
    instance = drawn(view.problem, view.seed)
    overlaps = tuple(curves(view).theories) or ("conventional",)  # the theories that apply to the law
    gaussian = isinstance(instance.latent, Gaussian)
    instances = [instance] if gaussian else [instance, instance.replace(latent=Gaussian())]
    options = {"runs": view.runs * (1 + gaussian), "seed": view.seed, "test_samples": TEST_SAMPLES}
    for done, parts in simulate_live(instances, times_of(view), overlaps=overlaps, **options):
        if parts and gaussian:
            parts = [parts[0].isel(run=slice(first, None, 2)) for first in (0, 1)]
        sgd, floor = parts or (None, None)
        yield done, sgd, floor if floor is not None and floor.sizes["run"] else None


@dataclass
class Streamed:
    """SGD of a view, as far as it has got."""

    view: View
    sgd: xr.Dataset | None = None
    floor: xr.Dataset | None = None
    done: float = 0.0

    def receive(self, items: Iterable[tuple[float, xr.Dataset | None, xr.Dataset | None]]) -> None:
        """Take what :func:`stream` yielded."""
        for self.done, sgd, floor in items:
            if sgd is not None:
                self.sgd, self.floor = sgd, floor

    def numbers(self, solved: Curves) -> str:
        """Write M and the noise floor so far as a table, or nothing before there are both."""
        if self.sgd is None or self.floor is None or solved.floor is None:
            return ""
        floor = self.floor.isel(overlaps=0, drop=True)  # all overlaps are the same on Gaussian inputs
        floor = floor.assign_attrs(overlaps="conventional")
        results = {
            name: discrepancies(theory, measured_for(theory, self.sgd), solved.floor, floor)
            for name, theory in solved.theories.items()
            if name in self.sgd["overlaps"].values
        }
        return _table(results, self.sgd) if results else ""


class Running:
    """The run of a page, its buttons, and what the page says about it.

    Parameters
    ----------
    page
        The page.
    view
        Gives the settings to run.
    """

    def __init__(self, page: Shown, view: Callable[[], View]) -> None:
        self._page, self._view = page, view
        self.streamed: Streamed | None = None
        self._turn: Turn | None = None
        self._solved = Curves()
        self.run_button = button("Run SGD", self.run, color="primary")
        self.stop_button = button("Stop", self.stop, disabled=True)
        self.progress = pn.indicators.Progress(value=0, max=100, sizing_mode="stretch_width", margin=4, visible=False)
        self.status, self.numbers = text(), text()

    @property
    def datasets(self) -> dict[str, xr.Dataset | None]:
        """The runs so far and their noise floor, if there are any."""
        streamed = self.streamed
        return {"sgd": streamed and streamed.sgd, "noise_floor": streamed and streamed.floor}

    def run(self) -> None:
        """Stream SGD on the settings that are on view."""
        self.stop()
        self.streamed = Streamed(self._view())
        self._turn = shared_turns().add(Turn(stream(self.streamed.view), self.streamed.receive))
        # One of the buttons is enabled at every moment, so that the keyboard has where to go.
        self.stop_button.disabled, self.run_button.disabled, self.progress.visible = False, True, True
        self.status.object = note("SGD is running …")
        self._follow(self._turn)

    def _follow(self, turn: Turn, pictures: int = 0) -> None:
        """Draw how far a run has got, now and then with its numbers, and come back until it has ended."""
        if turn is not self._turn:
            return
        if not self._page.session.watched:
            turn.stop()
        elif turn.ended:
            self._end(str(turn.error) if turn.error else self._ending())
        else:
            self._show(numbers=pictures % EVERY == 0)
            crowd = max(1.0, shared_turns().active / 2)
            self._page.session.later(PUSH * crowd, lambda: self._follow(turn, pictures + 1))

    def _show(self, *, numbers: bool = True) -> None:
        """Draw the runs so far, and write their numbers."""
        self._page.panels.show_sgd(self.datasets["sgd"], self._view().theories)
        self.progress.value = int(100 * self.streamed.done) if self.streamed else 0
        if numbers:
            self.numbers.object = self.streamed.numbers(self._solved) if self.streamed else ""

    def _ending(self) -> str:
        sgd = self.datasets["sgd"]
        if sgd is not None and "diverged_at" in sgd.attrs:
            return f"SGD diverged at t = {sgd.attrs['diverged_at']:.3g}. Lower η, learning_rate."
        return "SGD is done."

    def _end(self, words: str) -> None:
        self._turn = None
        self.run_button.disabled, self.stop_button.disabled, self.progress.visible = False, True, False
        self._show()
        self.status.object = note(words)

    def compare(self, solved: Curves) -> None:
        """Give M of these theories from now on."""
        self._solved = solved
        self._show()
        missing = set(solved.theories).difference(self.streamed.view.theories) if self.streamed else ()
        for name in missing:
            self.status.object = note(f"SGD was not measured for the {name} theory. Run it again for that.")

    def stop(self) -> None:
        """Stop SGD where it is; its points stay."""
        if self._turn is not None:
            self._turn.stop()
            self._end("SGD was stopped.")

    def forget(self) -> None:
        """Stop SGD and remove its points: they belong to other settings, as do the theories."""
        self.stop()
        self.streamed, self._solved = None, Curves()
        self._show()
        self.status.object = ""

    def close(self) -> None:
        """End the run of a page that is no longer there."""
        if self._turn is not None:
            self._turn.stop()


def discrepancies(theory: xr.Dataset, runs: xr.Dataset, floor_theory: xr.Dataset, floor: xr.Dataset) -> xr.Dataset:
    """Compute M of one theory, averaged over entries, and its noise floor.

    Parameters
    ----------
    theory, floor_theory
        Theory of the problem, and of the same network on Gaussian inputs, for which it is exact.
    runs, floor
        SGD of both, measured for that theory, as far as it has got. All are cut to the times they have in common.

    Returns
    -------
    xarray.Dataset
        What :func:`sgdlimit.compare` gives, with ``floor`` and ``floor_stderr`` of each quantity.
    """
    both = [theory, _complete(runs), floor_theory, _complete(floor)]
    count = min(dataset.sizes["time"] for dataset in both)
    theory, runs, floor_theory, floor = (dataset.isel(time=slice(count)) for dataset in both)
    of_floor = compare(floor_theory, floor)
    return compare(theory, runs).assign(floor=of_floor["M"], floor_stderr=of_floor["M_stderr"])


def _complete(runs: xr.Dataset) -> xr.Dataset:
    """Keep the runs that have got to the last output time; before there is one, the first run as far as it is."""
    there = runs["generalization_error"].notnull()
    whole = there.all("time").values
    if whole.any():
        return runs.isel(run=np.flatnonzero(whole))
    return runs.isel(run=[0], time=slice(int(there.isel(run=0).sum())))


def _table(results: Mapping[str, xr.Dataset], sgd: xr.Dataset) -> str:
    """Write the numbers of each theory as HTML; runs that diverged get no verdict."""
    frames = {theory: result[["M", "M_stderr", "floor", "scale"]].to_dataframe() for theory, result in results.items()}
    table: Any = pd.concat(frames, names=["theory"]).reset_index("theory").rename(index=SYMBOLS).rename_axis(None)
    table["M/floor"] = table["M"] / table["floor"].replace(0, np.nan)
    table["% of mean |x|"] = 100 * table["M"] / table.pop("scale").replace(0, np.nan)
    within = np.where(table["M"] <= AGREEMENT * table["floor"], "noise explains it", "beyond noise")
    table[f"(M ≤ {AGREEMENT:g} × floor)"] = "SGD diverged" if "diverged_at" in sgd.attrs else within
    table = table.rename(columns={"M_stderr": "± s.e.", "floor": "noise floor"})
    attrs = next(iter(results.values())).attrs
    runs, until = attrs["runs"], float(sgd["time"].values[attrs["times_compared"] - 1])
    return (
        f'<p class="note">M over t ≤ {until:.3g}, {runs} run{"s" * (runs > 1)}. Noise floor: the same network on '
        "Gaussian inputs.</p><div class='wide'>"
        + table.to_html(classes="numbers", border=0, float_format="{:.3g}".format, na_rep="–")
        + "</div>"
    )

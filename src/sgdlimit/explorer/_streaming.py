"""SGD of a view while it runs, with the noise floor beside it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import xarray as xr

from ..comparison import measured_for
from ..inputs import Gaussian
from ..simulation import simulate_live
from ._curves import curves, drawn, times_of
from ._numbers import discrepancies, table
from ._view import View

__all__ = ["Streamed", "stream"]

TEST_SAMPLES = 4000


def stream(view: View) -> Iterator[tuple[float, xr.Dataset | None, xr.Dataset | None]]:
    """The part that is done, and, where there is something new, SGD and its noise floor so far.

    Drawn by whoever takes the first item. The floor is the same network on Gaussian inputs with the same noise; on
    Gaussian inputs, further runs of the same kind: every other one.
    """
    instance = drawn(view.problem, view.seed)
    overlaps = tuple(curves(view).theories) or ("conventional",)  # those that can be asked about the law
    gaussian = isinstance(instance.latent, Gaussian)
    instances = [instance] if gaussian else [instance, instance.replace(latent=Gaussian())]
    runs = 2 * view.runs if gaussian else view.runs
    options = {"runs": runs, "seed": view.seed, "test_samples": TEST_SAMPLES}
    for done, some in simulate_live(instances, times_of(view), overlaps=overlaps, **options):
        if some is None:
            yield done, None, None
        elif gaussian:
            floor = some[0].isel(run=slice(1, None, 2)) if some[0].sizes["run"] > 1 else None
            yield done, some[0].isel(run=slice(0, None, 2)), floor
        else:
            yield done, some[0], some[1]


@dataclass
class Streamed:
    """SGD of a view, as far as it has got."""

    view: View
    sgd: xr.Dataset | None = None
    floor: xr.Dataset | None = None
    done: float = 0.0

    def numbers(self, theories: Mapping[str, xr.Dataset], floor_theory: xr.Dataset | None) -> str:
        """M and the noise floor so far, as a table; nothing before there are both."""
        if self.sgd is None or self.floor is None or floor_theory is None:
            return ""
        floor = self.floor.sel(overlaps=self.floor["overlaps"].values[0], drop=True)
        floor = floor.assign_attrs(overlaps="conventional")  # all the same on Gaussian inputs
        results = {}
        for theory, solved in theories.items():
            if theory in self.sgd["overlaps"].values:
                results[theory] = discrepancies(solved, measured_for(solved, self.sgd), floor_theory, floor)
        if not results:
            return ""
        first = next(iter(results.values()))
        until = float(self.sgd["time"].values[int(first.attrs["times_compared"]) - 1])
        return table(results, until, int(first.attrs["runs"]), diverged="diverged_at" in self.sgd.attrs)

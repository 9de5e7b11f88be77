"""What can be taken from a page: the view as a picture, as data, and as a file for the command line."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import xarray as xr

from ..plotting import explored
from ._panels import Pinned
from ._view import View

__all__ = ["netcdf", "picture", "toml"]


def picture(
    ending: str, view: View, theories: Mapping[str, xr.Dataset], sgd: xr.Dataset | None, pins: Sequence[Pinned]
) -> BytesIO:
    """The four panels as they are on the page, for paper: ``"png"`` or ``"svg"``."""
    file = BytesIO()
    drawn = explored(theories, sgd, view.label, [(pin.label, pin.color, pin.theories) for pin in pins])
    drawn.savefig(file, format=ending, dpi=200)
    file.seek(0)
    return file


def netcdf(
    view: View, theories: Mapping[str, xr.Dataset], sgd: Mapping[str, xr.Dataset | None], pins: Sequence[Pinned]
) -> BytesIO:
    """All that is shown as one NetCDF-4 file: a group for each theory, SGD, its noise floor, and what is pinned."""
    groups = {f"/theory/{name}": theory for name, theory in theories.items()}
    groups |= {f"/{name}": some for name, some in sgd.items() if some is not None}
    for number, pin in enumerate(pins, 1):
        groups |= {f"/pinned/{number}/{name}": theory for name, theory in pin.theories.items()}
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs={"settings": view.to_toml(), "label": view.label}), **groups})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "view.nc"
        tree.to_netcdf(path, engine="h5netcdf")
        return BytesIO(path.read_bytes())


def toml(view: View) -> BytesIO:
    """The settings for ``sgdlimit run``."""
    return BytesIO(view.to_toml().encode())


Download = Callable[[], BytesIO]

"""Labelled data, diagnosed into a folder with a page."""

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxtyping import Float
from numpy import ndarray
from pandas import DataFrame

from ..diagnosis import DATA, diagnose_labels
from ..plotting import hover_panels, save_figure
from ..trajectory import save
from ._contents import Finding, Picture, Report, Section, numbers
from ._write import write_page

QUESTION = "Which statistics of the classes make the learning curve of a two-layer network, and until when?"
CAPTION = (
    "The first rung that stays with the data holds all that this network uses. (a) Error on the held-out test set: SGD "
    "on the data as circles, on the surrogate of each rung as lines. Triangles mark where a rung is left. (b) Error of "
    "each surrogate on fresh samples of its own: SGD thin, theory thick."
)


def check_labels(
    samples: DataFrame,
    labels: ndarray,
    folder: Path,
    *,
    time: float | None,
    curve: Float[ndarray, "points 2"] | None,
    progress: Callable[[str, float], None],
    **options: Any,
) -> str:
    """Diagnose labelled data and write everything into a folder.

    Parameters
    ----------
    samples, labels, **options
        See :func:`sgdlimit.diagnosis.diagnose_labels`.
    folder
        An empty folder; it gets ``diagnosis.zarr``, ``diagnosis.png``, ``diagnosis.pdf``, ``verdict.txt`` and a page
        that needs nothing else, ``index.html``.
    time
        Length of training in units of N steps, by default one pass.
    curve
        The user's own curve, see :meth:`sgdlimit.diagnosis.LabelledDiagnosis.compare`.
    progress
        Called with a stage and the fraction of it that is done.

    Returns
    -------
    str
        The verdict, the numbers behind it, and where the results are.
    """
    found = diagnose_labels(samples, labels, length=time, progress=partial(progress, "theory and SGD"), **options)
    if curve is not None:
        found = found.compare(curve)
    data, attrs = found.data, found.data.attrs
    save(data, folder / "diagnosis.zarr")
    figure = found.figure()
    picture = save_figure(figure, folder, "diagnosis")[0]
    (folder / "verdict.txt").write_text(f"{found}\n", encoding="utf-8")
    last = data["error_rate"].mean("run").isel(time=slice(None, None, -8))
    errors = DataFrame(last.values.T, last["samples"].values, last["source"].values).iloc[::-1]
    confusion = DataFrame(data["confusion"].sel(source=DATA).values, data["label"].values, data["label"].values)
    tables = (
        numbers("Error rate on the test set after so many samples.", errors, "{:.3f}"),
        numbers("Part of each class (row) that is taken for each class (column) in the end.", confusion, "{:.3f}"),
    )
    report = Report(
        title="The learning curve of labelled data",
        heading="Which statistics make the learning curve",
        lead=found.headline,
        question=QUESTION,
        summary={"Limits": found.notes},
        settings={name.replace("_", " "): f"{attrs[name]:g}" for name in attrs},
        sections=[Section("Learning curves", found=[Finding("", table) for table in tables], figures=["diagnosis"])],
        pages=[],
        pictures={"diagnosis": Picture(CAPTION, picture, command="", panels=hover_panels(figure), width=None)},
        provenance={"sgdlimit": version("sgdlimit")},
    )
    write_page(folder / "index.html", report)
    return f"{found}\n\nResults: {folder}"

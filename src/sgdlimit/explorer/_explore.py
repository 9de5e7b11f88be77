"""The two ways to a page: a notebook's cell, or a server on this machine."""

from pathlib import Path
from typing import Any

import panel as pn

from ..problem import Problem, load_problem
from ..signatures import checked
from ._page import Explorer
from ._shown import serve_pages
from ._sweep_page import SweepPage
from ._view import DEFAULT, View


@checked
def explore(
    problem: Problem | str | Path | None = None,
    *,
    seed: int = 0,
    time: float = 100.0,
    runs: int = 3,
    theories: str | tuple[str, ...] = ("conventional",),
) -> Explorer | SweepPage:
    """Show the explorer in a notebook: theory follows the settings, SGD is streamed over it.

    Parameters
    ----------
    problem
        What to show first, by default the paper's network. The path of a TOML file with settings also gives seed, time,
        runs and theories. The path of a stored sweep opens a page to browse it.
    seed
        Seed of the instance and of the noise.
    time
        The last t.
    runs
        SGD runs.
    theories
        ``"conventional"``, ``"moment-matched"`` or both.

    Returns
    -------
    Explorer
        Shown as the last value of a cell; elsewhere ``.show()`` opens it in a browser.

    Raises
    ------
    ProblemError
        If a setting is wrong, or too large to be drawn while you wait.
    """
    pn.extension(inline=True)
    if isinstance(problem, str | Path):
        page, target = _page_of(str(problem))
        return page(target)
    problem = problem or DEFAULT.problem
    return Explorer(View(problem=problem, seed=seed, time=time, runs=runs, theories=theories))  # type: ignore[arg-type]


def serve(target: str | None, *, port: int | None, browser: bool) -> None:
    """Serve the explorer on this machine until it is interrupted.

    Parameters
    ----------
    target
        A stored sweep, a TOML file of settings, or nothing for the paper's network.
    port, browser
        As for :meth:`~sgdlimit.explorer._shown.serve_pages`.

    Raises
    ------
    ProblemError
        If the port is taken, or the target is neither a sweep nor settings.
    """
    page, shown = _page_of(target)
    if page is SweepPage:
        SweepPage(shown)  # complains about a sweep that cannot be read before there is a server
    title = f"sgdlimit: {Path(target).name}" if target else "sgdlimit explorer"
    serve_pages(page, shown, title=title, port=port, browser=browser)


def _page_of(target: str | None) -> tuple[type[Explorer | SweepPage], Any]:
    """Return which page shows a target, and what to make it of."""
    if target is None:
        return Explorer, DEFAULT
    if target.endswith(".toml"):
        return Explorer, View.of_file(*load_problem(target))
    return SweepPage, target

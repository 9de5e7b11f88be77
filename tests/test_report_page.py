"""The report in a browser: values at the pointer and the keys, pages of left-out instances, small and dark windows."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from browser import scrolls_sideways
from sgdlimit.inputs import MixtureLaw
from sgdlimit.papers.bae_jeong_2024._averages import Study
from sgdlimit.papers.bae_jeong_2024._figure_discrepancy import discrepancy_against_kl
from sgdlimit.papers.bae_jeong_2024._figures import example_dynamics
from sgdlimit.papers.bae_jeong_2024._grids import case_name, trajectories_of
from sgdlimit.papers.bae_jeong_2024._lemmas import function_correlation, function_expectation
from sgdlimit.papers.bae_jeong_2024._page import write_report
from sgdlimit.papers.bae_jeong_2024._sample_means import sample_means
from sgdlimit.plotting import Panel, hover_panels, save_figure, trajectory
from sgdlimit.plotting._hover import named
from test_figures import (
    example_trajectories,
    left_out_cases,
    synthetic_blocks,
    synthetic_grid,
    synthetic_mixture,
    synthetic_sizes,
)

LIMIT = 10_000_000  # bytes


@pytest.fixture(scope="module")
def datasets() -> dict[str, xr.Dataset]:
    theory, sgd = example_trajectories()
    grid, shape = synthetic_grid(lost=3), [-0.5, 0.7, -0.1]
    grid["kept"][3, 1] = False
    return {
        "grid": grid,
        "blocks": synthetic_blocks(),
        "examples_theory": theory,
        "examples_sgd": sgd,
        "examples_mixture": sgd.sel(law="mixture", drop=True).drop_vars(["Q_mixture", "R_mixture"]),
        "sample_means": sample_means(MixtureLaw(np.array([-1.0, 1.0]), standardize=True), count=20, repeats=50),
        "sizes": synthetic_sizes(),
        "mixture": synthetic_mixture(),
        "correlations": function_correlation(shape, [9.0]),
        "expectations": function_expectation({2: [-1.0, 1.0], 3: shape}, [0.0, 3.0]),
        "cases": left_out_cases(grid, (theory, sgd)),
    }


@pytest.fixture(scope="module")
def drawn(datasets, tmp_path_factory) -> tuple[dict, dict[str, list[Panel]]]:
    """Some of the figures with all kinds of axes, insets among them, and those of the instances left out."""
    theory, sgd, cases = (datasets[name] for name in ("examples_theory", "examples_sgd", "cases"))
    drawings = {
        "figure_4": partial(example_dynamics, theory, sgd, "relu", "standardized mixture"),
        "figure_5": partial(discrepancy_against_kl, datasets["grid"], "relu", True, theory=theory, sgd=sgd),
    }
    for place in range(cases.sizes["case"]):
        one = cases.isel(case=place)
        name = case_name(int(one["instance"]), str(one["activation"].values))
        drawings[name] = partial(trajectory, *trajectories_of(cases, place))
    pictures, readings = {}, {}
    for name, draw in drawings.items():
        figure = draw()
        pictures[name] = save_figure(figure, tmp_path_factory.mktemp("figures"), name, suffixes=[".png"])[0]
        readings[name] = hover_panels(figure)
    return pictures, readings


@pytest.fixture(scope="module")
def report_path(datasets, drawn, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "index.html"
    study = Study(**datasets)
    figures = {name: (file, drawn[1][name]) for name, file in drawn[0].items()}
    write_report(path, study, figures=figures, provenance={"seed": "0"}, preset="quick")
    return path


@pytest.fixture(scope="module")
def report(report_path) -> str:
    return report_path.as_uri()


def test_what_is_read_off_is_what_is_drawn(datasets, drawn):
    panels = drawn[1]["figure_4"]
    theory = datasets["examples_theory"].sel(activation="relu")
    assert [panel.title[:1] for panel in panels] == list("abcd")
    assert panels[0].x.label == "time t = steps/N"  # which the panel below has
    curve = next(curve for curve in panels[1].curves if curve.name == "Q₀,₁, theory")
    np.testing.assert_allclose(curve.x, theory["time"], rtol=1e-4)
    np.testing.assert_allclose(curve.y, theory["Q"][:, 0, 1], rtol=1e-3)
    names = [curve.name for curve in drawn[1]["figure_5"][0].curves]
    assert names == ["m=2", "m=3", "m=4", "m=5"]
    assert len(drawn[1]["figure_5"]) == 6  # with the insets


def position(panel: Panel, x: float, y: float) -> tuple[float, float]:
    """Where the page puts a point of a panel, as shares of the picture's width and height from the upper left."""
    left, top, width, height = panel.box
    shares = []
    for axis, at in ((panel.x, x), (panel.y, y)):
        low, high, value = np.log([axis.low, axis.high, at]) if axis.log else (axis.low, axis.high, at)
        shares.append((value - low) / (high - low))
    return left + width * shares[0], top + height * (1 - shares[1])


def test_points_lie_where_the_picture_has_them():
    """On a linear and a logarithmic axis, against matplotlib's own transforms."""
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    named(axes.plot([1.0, 10.0, 100.0], [0.2, np.nan, 0.4])[0], "curve")
    axes.set_xscale("log")
    figure.draw_without_rendering()
    panel = hover_panels(figure)[0]
    assert panel.curves[0].x.tolist() == [1.0, 100.0]
    for x, y in zip(panel.curves[0].x, panel.curves[0].y, strict=True):
        pixel = axes.transData.transform((x, y)) / (figure.bbox.width, figure.bbox.height)
        assert position(panel, x, y) == pytest.approx((pixel[0], 1 - pixel[1]), abs=1e-6)


def test_the_pointer_reads_the_nearest_point(report, drawn, open_page, screenshots):
    page = open_page(report)
    panel = drawn[1]["figure_4"][1]
    curve = next(curve for curve in panel.curves if curve.name == "Q₁,₁, theory")
    picture = page.locator("#figure_4 .picture")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    left, top = position(panel, curve.x[30], curve.y[30])
    page.mouse.move(box["x"] + left * box["width"], box["y"] + top * box["height"])
    said = picture.locator(".reading").inner_text()
    page.screenshot(path=screenshots / "report-hover.png")
    assert re.match(r"Q₁,₁", said)
    assert f"time t = steps/N: {curve.x[30]:.4g}" in said
    assert re.search(r"overlap Q: \S+$", said)
    dot = picture.locator(".dot").bounding_box()
    assert abs(dot["x"] + dot["width"] / 2 - box["x"] - left * box["width"]) < 2
    assert abs(dot["y"] + dot["height"] / 2 - box["y"] - top * box["height"]) < 4
    page.mouse.move(1, 1)
    assert not picture.locator(".reading").is_visible()


def test_the_keyboard_walks_along_curves_and_says_so(report, drawn, open_page):
    page = open_page(report)
    card = page.locator("#figure_5 .card")
    card.focus()
    first, second = drawn[1]["figure_5"][0].curves[:2]
    spoken = card.locator(".spoken")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert f"m=2, D_KL(P ‖ N) [nats]: {first.x[1]:.4g}, M(Q): {first.y[1]:.4g}" in spoken.inner_text()
    page.keyboard.press("ArrowDown")
    assert "m=3" in spoken.inner_text()
    page.keyboard.press("End")
    assert f"{second.x[-1]:.4g}" in spoken.inner_text()
    page.keyboard.press("PageDown")
    assert spoken.inner_text() != ""
    assert card.locator(".reading").is_visible()
    page.keyboard.press("Escape")
    assert not card.locator(".reading").is_visible()


def test_a_left_out_instance_has_a_page(report, open_page, screenshots):
    page = open_page(report)
    assert page.locator(".page:visible").count() == 0
    links = page.locator(".cases a")
    assert links.all_inner_texts() == ["Instance 11, ReLU", "Instance 13, erf"]
    links.first.click()
    about = page.locator("#left-out-11-relu")
    assert about.is_visible()
    assert not page.locator("h1").is_visible()
    assert "above 0.1" in about.inner_text()
    assert "at t = 0" in about.inner_text()
    picture = about.locator(".picture")
    box = picture.bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.4 * box["height"])
    assert "ε_g" in about.locator(".reading").inner_text()
    page.screenshot(path=screenshots / "report-left-out.png", full_page=True)
    about.get_by_text("Next: Instance 13, erf").click()
    assert page.locator("#left-out-13-erf").is_visible()
    page.locator("#left-out-13-erf").get_by_text("What was left out").click()
    assert page.locator("#what-was-left-out").is_visible()
    page.go_back()
    assert page.locator("#left-out-13-erf").is_visible()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_it_fits_its_window_and_needs_nothing_else(report, open_page, screenshots, width, dark):
    page = open_page(report, width=width, dark=dark, touch=width < 400)
    assert not scrolls_sideways(page)
    claimed, measured = (page.locator(f".beside .{kind}").first.bounding_box() for kind in ("claimed", "measured"))
    assert (measured["y"] > claimed["y"]) == (width < 400)  # one under the other, else side by side
    assert (measured["x"] > claimed["x"]) == (width > 400)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == dark
    assert page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor") == "rgb(255, 255, 255)"
    assert all(url.startswith(("file:", "data:")) for url in page.requested)
    if width < 400:
        page.locator("#figure_4 .picture").tap(position={"x": 120, "y": 130})
        assert page.locator("#figure_4 .reading").is_visible()
        assert not scrolls_sideways(page)
    page.screenshot(path=screenshots / f"report-{width}-{'dark' if dark else 'light'}.png")
    for link in page.locator("nav.contents a").all():
        target = link.get_attribute("href")
        assert page.locator(target).count() == 1, target
    headings = page.eval_on_selector_all("h1, h2, h3", "all => all.map(one => Number(one.tagName[1]))")
    assert headings[0] == 1
    assert max(np.diff(headings)) <= 1
    assert page.locator("img:not([alt])").count() == 0


def test_without_scripts_everything_is_there(report, open_page):
    page = open_page(report, scripts=False)
    assert page.locator("#figure_4 img").is_visible()
    assert page.locator("#left-out-11-relu img").is_visible()
    assert page.locator("#left-out-11-relu table").count() == 2


def test_the_whole_paper_stays_below_ten_megabytes(report_path):
    """By what this page takes: all 40 instances left out, and each of 20 figures as large as the largest here.

    The figures of a quick reproduction take 80 kB each on average.
    """
    html = report_path.read_text(encoding="utf-8")
    parts = dict(re.findall(r'<figure id="(\w+)">(.*?)</figure>', html, re.S))
    longer = 200 / 60  # times along a curve, those of the paper over those here

    def size(part: str) -> float:
        readings = sum(len(text.encode()) for text in re.findall(r"<script.*?</script>", part, re.S))
        return len(part.encode()) + (longer - 1) * readings

    page = max(size(part) for name, part in parts.items() if name.startswith("left_out"))
    rest = len(html.encode()) - sum(len(part.encode()) for part in parts.values())
    assert 20 * max(map(size, parts.values())) + 40 * page + 10 * rest < LIMIT

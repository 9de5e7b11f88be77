"""Figures, tables and report on synthetic data with the dimensions of the studies' datasets."""

import re
from io import BytesIO

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from PIL import Image
from scipy.integrate import quad
from scipy.special import erf
from scipy.stats import norm

from sgdlimit.inputs import MixtureLaw
from sgdlimit.papers.bae_jeong_2024 import _beyond as beyond_findings, _findings as findings
from sgdlimit.papers.bae_jeong_2024._averages import Study
from sgdlimit.papers.bae_jeong_2024._figure_discrepancy import discrepancy_against_kl, universality
from sgdlimit.papers.bae_jeong_2024._figure_studies import finite_size, mixture_theory
from sgdlimit.papers.bae_jeong_2024._figures import example_dynamics, kl_against_spread, paper_figures, sample_mean_law
from sgdlimit.papers.bae_jeong_2024._lemmas import function_correlation, function_expectation
from sgdlimit.papers.bae_jeong_2024._page import write_report
from sgdlimit.papers.bae_jeong_2024._sample_means import sample_means
from sgdlimit.papers.bae_jeong_2024._tables import (
    COLUMNS,
    PUBLISHED,
    discrepancy_table,
    flatness,
    flatness_statement,
    write_table,
)
from sgdlimit.plotting import SERIES, saturation_time, save_figure, trajectory

ACTIVATIONS = ["relu", "erf"]
LAWS = ["gaussian", "mixture", "standardized mixture"]
ENTRIES = {"Q": ("student", "student_"), "R": ("student", "teacher"), "v": ("student",)}
FLOOR = {"Q": 0.012, "R": 0.006, "v": 0.003}
SCALE = {"Q": 0.7, "R": 0.15, "v": 0.5}


def example_trajectories(runs: int = 10, count: int = 60) -> tuple[xr.Dataset, xr.Dataset]:
    """Theory and SGD: curves that leave a plateau, noise of the size of a real run, a shift for raw mixtures."""
    rng = np.random.default_rng(0)
    times = np.geomspace(1e-3, 100, count)
    rise = times / (times + 5)
    theory, sgd = {}, {}
    shift = np.array([0, 1.0, 0])[:, None, None]
    for name, entries in {**ENTRIES, "generalization_error": ()}.items():
        shape = (2,) * len(entries)
        first, last = rng.normal(0, 0.5, (2, 2, *shape))
        curve = np.moveaxis(first[..., None] + (last - first)[..., None] * rise, -1, 1)  # (activation, time, ...)
        if name == "generalization_error":
            curve = 0.1 + 0.8 * np.stack([1 - rise, (1 - rise) ** 2])
        theory[name] = (("activation", "time", *entries), curve)
        offset = (shift * rise).reshape(1, 3, 1, count, *[1] * len(shape))
        noise = 0.01 * rng.standard_normal((2, 3, runs, count, *shape))
        sgd[name] = (("activation", "law", "run", "time", *entries), curve[:, None, None] + offset + noise)
    coords = {"activation": ACTIVATIONS, "time": times}
    attrs = {"components": 2, "spread": 9, "instance": 4}
    simulated = xr.Dataset(sgd, {**coords, "law": LAWS}, attrs)
    return xr.Dataset(theory, coords), simulated.assign(Q_mixture=simulated["Q"], R_mixture=simulated["R"])


def synthetic_grid(instances: int = 6, components=(2, 3, 4, 5), spreads=tuple(range(10)), lost: int = 0) -> xr.Dataset:
    """Standardised: flat at the noise floor. Raw: rising with D_KL to an asymptote. ``lost`` raw runs diverge."""
    rng = np.random.default_rng(1)
    kl = np.zeros((instances, len(components), len(spreads)))
    for i, j in np.ndindex(instances, len(components)):
        unit = rng.uniform(-1, 1, components[j])
        kl[i, j] = [MixtureLaw(spread * unit).kl_to_standard_normal().value for spread in spreads]
    conditions = ("instance", "activation", "standardized", "components", "spread")
    shape = (instances, 2, 2, len(components), len(spreads))
    data: dict = {"kl": (("instance", "components", "spread"), kl)}
    gone = np.zeros(shape, dtype=bool)
    for k in range(lost):
        gone[k % instances, 0, 0, -1, -1 - k // instances] = True
    data["diverged"] = (conditions, gone)
    raw = np.array([1.0, 0.0])[:, None, None] * (1 - np.exp(-kl / 3))[:, None, None]
    for name, entries in ENTRIES.items():
        size = (2,) * len(entries)
        expand = (..., *[None] * len(entries))
        floor = FLOOR[name] * rng.lognormal(0, 0.3, (instances, 2, *size))
        M = floor[:, :, None, None, None] * rng.lognormal(0, 0.05, (*shape, *size)) + 4 * SCALE[name] * raw[expand]
        M[gone] = np.nan
        data[f"M_{name}"] = ((*conditions, *entries), M)
        data[f"scale_{name}"] = ((*conditions, *entries), SCALE[name] * rng.lognormal(0, 0.2, (*shape, *size)))
        data[f"floor_{name}"] = (("instance", "activation", *entries), floor)
        data[f"floor_scale_{name}"] = (("instance", "activation", *entries), SCALE[name] + 0 * floor)
        within = ("instance", "activation", "components", "spread", *entries)
        data[f"M_mixture_{name}"] = (within, 1.5 * M[:, :, 1])
        data[f"scale_mixture_{name}"] = (within, 2 * SCALE[name] + 0 * M[:, :, 1])
        data[f"noise_mixture_{name}"] = (within, M[:, :, 1])
    data["mixture_diverged"] = (("instance", "activation", "components", "spread"), gone[:, :, 1])
    kept = np.ones((instances, 2), dtype=bool)
    kept[1:2, 0] = False
    data["kept"] = (("instance", "activation"), kept)
    data["reason"] = (("instance", "activation"), np.where(kept, "", "M(Q) of Gaussian SGD is 0.310, above 0.1"))
    attrs = {"problem": '{"input_dim": 1000, "latent_dim": 500, "learning_rate": 0.2, "nonlinearity": "sign"}'}
    coords = {
        "instance": 10 + np.arange(instances),
        "activation": ACTIVATIONS,
        "standardized": [False, True],
        "components": list(components),
        "spread": list(spreads),
    }
    return xr.Dataset(data, coords, attrs)


def synthetic_blocks(instances: int = 4, spreads=(0, 3, 9)) -> xr.Dataset:
    """At the noise floor for B = 1 or α = 0, above it elsewhere; moment matching helps for small blocks.

    The mixture theory is at its own floor, which is five times that of Gaussian SGD, and knows B = 1 and 500 only.
    Un-standardised, the conventional theory fails everywhere.
    """
    rng = np.random.default_rng(2)
    sizes = np.array([1, 5, 20, 500])
    gap = np.nan
    standardized = np.array([[0, 8, 14, 16], [0, 1, 5, 60], [4, gap, gap, 4]])
    raw = np.array([[20, 20, 20, 20], [gap, gap, gap, gap], [4, gap, gap, 4]])
    growth = np.stack([raw, standardized])[:, :, None, :] * (np.array(spreads) / 9)[:, None]
    shape = (instances, 2, 2, 3, len(spreads), len(sizes))
    conditions = ("instance", "activation", "standardized", "theory", "spread", "block_size")
    data: dict = {
        "kl": (("instance", "spread", "block_size"), rng.uniform(0, 10, (instances, len(spreads), 4))),
        "applicable": (("standardized", "theory", "block_size"), np.isfinite(np.stack([raw, standardized]))),
    }
    for flag in ("diverged", "theory_diverged"):
        data[flag] = ((*conditions[:3], *conditions[4:]), np.zeros((instances, 2, 2, len(spreads), 4), dtype=bool))
    for name, entries in ENTRIES.items():
        size = (2,) * len(entries)
        floor = FLOOR[name] * rng.lognormal(0, 0.3, (instances, 2, *size))
        factor = (1 + growth)[(..., *[None] * len(entries))]
        M = floor[:, :, None, None, None, None] * factor * rng.lognormal(0, 0.1, (*shape, *size))
        data[f"M_{name}"] = ((*conditions, *entries), M)
        data[f"scale_{name}"] = ((*conditions, *entries), SCALE[name] + 0 * M)
        data[f"floor_{name}"] = (("instance", "activation", *entries), floor)
        data[f"floor_scale_{name}"] = (("instance", "activation", *entries), SCALE[name] + 0 * floor)
        data[f"noise_mixture_{name}"] = ((*conditions[:3], *conditions[4:], *entries), M[:, :, :, 2])
    coords = {
        "instance": np.arange(instances),
        "activation": ACTIVATIONS,
        "standardized": [False, True],
        "theory": ["conventional", "moment-matched", "mixture"],
        "spread": list(spreads),
        "block_size": sizes,
    }
    return xr.Dataset(data, coords)


def synthetic_mixture() -> xr.Dataset:
    """The study of the mixture theory: a term of order 1/N, errors at the level of chance, fluctuations alike."""
    rng = np.random.default_rng(5)
    sizes, steps, counts, rates = np.repeat([250, 500], 4), [0.4, 0.2, 0.1], [1, 2, 4, 8], [0.1, 0.2]
    quantities = ["Q", "R", "v", "generalization_error"]
    M = np.stack([0.003 + 1 / sizes, 0.003 + 0 * sizes])[:, None] + 1e-4 * rng.random((2, 4, 8))
    flat = 0.001 / np.sqrt(counts)[:, None] * np.ones(4)
    data = xr.Dataset(
        {
            "M": (("finite_term", "quantity", "sample"), M),
            "offset": (("finite_term", "quantity", "sample"), M),
            "step_error": (("step", "quantity"), rng.uniform(1e-4, 2e-4, (3, 4))),
            "step_noise": (("step", "quantity"), np.full((3, 4), 1e-4)),
            "ensemble_error": (("count", "quantity"), flat),
            "ensemble_expected": (("count", "quantity"), flat),
            "spread": (("source", "learning_rate", "student", "cluster"), rng.uniform(0.1, 0.2, (2, 2, 2, 2))),
            "ratio": ("learning_rate", [1.02, 0.97]),
            "ratio_stderr": ("learning_rate", [0.05, 0.05]),
        },
        coords={
            "finite_term": [False, True], "quantity": quantities, "step": steps, "count": counts,
            "source": ["theory", "SGD"], "learning_rate": rates,
        },
        attrs={
            "activation": "erf", "latent_ratio": 0.5, "spread": 9.0, "sizes_time": 5.0, "chains": 8, "runs": 8,
            "step_size": 500, "step_time": 30.0, "step_chains": 16, "fluctuation_size": 500, "fluctuation_time": 20.0,
        },
    )  # fmt: skip
    return data.assign_coords(size=("sample", sizes))


def synthetic_sizes(exponent: float = -0.5) -> xr.Dataset:
    """The finite-size study, with M that falls with a planted exponent."""
    rng = np.random.default_rng(4)
    sizes, times = np.repeat([250, 500, 1000], 4), np.geomspace(0.01, 10, 20)
    M = 0.1 * sizes**exponent * np.exp(0.02 * rng.standard_normal((2, 3, 12)))
    data = xr.Dataset(
        {
            "M": (("theory", "quantity", "sample"), M),
            "deviation": (("theory", "quantity", "sample", "time"), M[..., None] * times),
            "exponent": (("theory", "quantity"), np.full((2, 3), exponent)),
            "exponent_stderr": (("theory", "quantity"), np.full((2, 3), 0.01)),
            "prefactor": (("theory", "quantity"), np.full((2, 3), 0.1)),
        },
        coords={"theory": ["instance", "infinite size"], "quantity": list("QRv"), "time": times},
        attrs={"activation": "erf", "latent_ratio": 0.5},
    )
    return data.assign_coords(size=("sample", sizes))


@pytest.fixture(scope="module")
def trajectories() -> tuple[xr.Dataset, xr.Dataset]:
    return example_trajectories()


@pytest.fixture(scope="module")
def ensemble(trajectories) -> xr.Dataset:
    """The mixture theory of the examples: the runs of the mixture, less their noise, in a smaller ensemble."""
    theory = trajectories[1].sel(law="mixture", drop=True).isel(run=slice(4))
    return theory.drop_vars(["Q_mixture", "R_mixture"])


@pytest.fixture(scope="module")
def grid():
    return synthetic_grid(lost=3)


@pytest.fixture(scope="module")
def blocks():
    return synthetic_blocks()


@pytest.fixture(scope="module")
def means():
    return sample_means(MixtureLaw(np.array([-7.0, 1.0, 8.0]), standardize=True), count=50, repeats=200)


@pytest.fixture(scope="module")
def beyond():
    """Datasets of the studies beyond the paper, under the names the report knows them by."""
    shape = [-0.5, 0.7, -0.1]
    return {
        "sizes": synthetic_sizes(),
        "mixture": synthetic_mixture(),
        "correlations": function_correlation(shape, [3.0, 9.0]),
        "expectations": function_expectation({2: [-1.0, 1.0], 3: shape}, [0.0, 3.0, 9.0]),
    }


def one_pixel() -> bytes:
    written = BytesIO()
    Image.new("RGB", (1, 1)).save(written, "PNG")
    return written.getvalue()


def left_out_cases(grid: xr.Dataset, trajectories: tuple[xr.Dataset, xr.Dataset]) -> xr.Dataset:
    """What the study of left-out instances makes of a grid, with the example's trajectories for each of them."""
    theory, runs = trajectories[0].isel(activation=0, drop=True), trajectories[1].isel(activation=0, law=0, run=0)
    names = [*ENTRIES, "generalization_error"]
    one = runs[names].drop_vars(["activation", "law"]).assign({f"theory_{name}": theory[name] for name in names})
    one = one.assign({f"start_{name}": theory[name].isel(time=0, drop=True) for name in ENTRIES})
    places = np.argwhere(~grid["kept"].values)
    labels = {
        "instance": ("case", grid["instance"].values[places[:, 0]]),
        "activation": ("case", grid["activation"].values[places[:, 1]]),
        "reason": ("case", [str(grid["reason"].values[tuple(place)]) for place in places]),
    }
    return xr.concat([one] * max(len(places), 1), dim="case").isel(case=slice(len(places))).assign_coords(labels)


def data_lines(panel, points: int) -> list:
    return [line for line in panel.lines if np.size(line.get_xdata()) == points]


def assert_labelled(figure, panels: int) -> None:
    """Every panel says what it shows, and nothing overflows the figure."""
    assert len(figure.axes) == panels
    for panel in figure.axes:
        assert panel.get_ylabel() or panel.get_title(loc="left")
    assert any(panel.get_xlabel() for panel in figure.axes)
    figure.draw_without_rendering()
    width = figure.bbox.width
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= width
        for panel in figure.axes:
            assert not box.overlaps(panel.get_window_extent())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("law", ["mixture", "standardized mixture"])
def test_example_dynamics_draws_theory_and_both_laws(trajectories, activation, law):
    figure = example_dynamics(trajectories[0], trajectories[1], activation, law)
    assert_labelled(figure, 4)
    for panel, entries in zip(figure.axes, (1, 3, 4, 2), strict=True):  # Q is symmetric: three entries
        assert len(data_lines(panel, 60)) == 2 * entries  # the theory and the mixture
        assert len(panel.lines) == 3 * entries  # and circles for Gaussian SGD
        assert len(panel.collections) == 2 * entries  # a band for each kind of input
        assert panel.get_xscale() == "log"
    assert figure.axes[0].get_yscale() == "log"


def test_example_dynamics_says_how_many_runs_diverged(trajectories):
    theory, sgd = trajectories
    cut = sgd.where((sgd["time"] < 1) | (sgd["run"] > 1) | (sgd["law"] != "mixture"))
    title = example_dynamics(theory, cut, "relu", "mixture").legends[0].get_title().get_text()
    assert "2 diverged" in title


def test_trajectory_of_one_problem(trajectories):
    theory, sgd = trajectories
    one = theory.sel(activation="erf"), sgd.sel(activation="erf", law="gaussian")
    assert_labelled(trajectory(*one), 4)


def test_saturation_begins_where_the_error_stays_near_its_end():
    times = np.arange(1.0, 6.0)
    assert saturation_time(times, np.array([9.0, 1.0, 4.0, 1.5, 1.0])) == 4
    assert saturation_time(times, np.ones(5)) == 1


@pytest.mark.parametrize("standardized", [False, True])
def test_discrepancy_draws_a_curve_for_each_m(grid, trajectories, standardized):
    examples = dict(zip(("theory", "sgd"), trajectories, strict=True)) if standardized else {}
    figure = discrepancy_against_kl(grid, "erf", standardized, **examples)
    assert_labelled(figure, 3 if standardized else 6)
    chosen = grid.sel(activation="erf", standardized=standardized)
    for panel, name in zip(figure.axes[:3], "QRv", strict=True):
        curves = data_lines(panel, 10)
        assert len(curves) == 4
        expected = chosen[f"M_{name}"].mean([*ENTRIES[name], "instance"])
        for curve, components in zip(curves, grid["components"], strict=True):
            np.testing.assert_allclose(curve.get_ydata(), expected.sel(components=components))
            np.testing.assert_allclose(curve.get_xdata(), grid["kl"].sel(components=components).mean("instance"))
        dotted = [line for line in panel.lines if line.get_linestyle() == ":" and np.size(line.get_xdata()) == 2]
        assert len(dotted) == standardized
        assert len(panel.child_axes) == standardized
        top = panel.transData.transform((0, max(np.max(line.get_ydata()) for line in curves + dotted)))[1]
        assert all(inset.get_window_extent().y0 > top for inset in panel.child_axes)  # the inset hides no data


def test_discrepancy_shows_diverged_runs(grid):
    figure = discrepancy_against_kl(grid, "relu", False)
    assert (
        "(2 in all; 2 with" in figure.legends[0].get_title().get_text()
    )  # one of the three is in an instance not kept
    assert [text.get_text() for text in figure.axes[0].texts] == ["2"]
    hollow = [
        line for line in figure.axes[1].lines if line.get_markerfacecolor() == "white" and np.size(line.get_xdata())
    ]
    assert len(hollow) == 1


def test_discrepancy_where_every_run_diverged_or_no_instance_is_kept(grid):
    condition = {"activation": "relu", "components": 5, "spread": 9, "standardized": False}
    gone = grid.copy(deep=True)
    for name in (f"M_{metric}" for metric in ENTRIES):
        gone[name].loc[condition] = np.nan
    gone["diverged"].loc[condition] = True
    figure = discrepancy_against_kl(gone, "relu", False)
    figure.draw_without_rendering()
    crosses = [line for line in figure.axes[2].lines if line.get_marker() == "x" and np.size(line.get_xdata())]
    assert len(crosses) == 1
    none = discrepancy_against_kl(grid.assign(kept=grid["kept"] & False), "relu", True)
    none.draw_without_rendering()
    assert none.axes[0].texts[0].get_text() == "no instance kept"


def test_universality_marks_where_it_holds(blocks):
    figure = universality(blocks, "erf")
    assert_labelled(figure, 6)
    for panel in figure.axes[3:]:  # standardised
        assert len(data_lines(panel, 4)) >= 6  # three theories, α = 3 and 9
        marked = [
            line
            for line in panel.lines
            if line.get_linestyle() == "None" and line.get_marker() != "_" and np.isin(1, line.get_xdata())
        ]
        filled = [line for line in marked if line.get_markerfacecolor() != "white"]
        assert len(filled) == 6  # all theories hold for B = 1
    for panel in figure.axes[:3]:  # un-standardised, where moment-matched has no marker at all
        hollow = [
            line for line in panel.lines if line.get_markerfacecolor() == "white" and np.isin(1, line.get_xdata())
        ]
        assert len(hollow) == 2  # conventional
    lost = blocks.assign(diverged=blocks["diverged"] | (blocks["spread"] == 9))
    title = universality(lost, "erf").legends[0].get_title().get_text()
    assert f"{4 * 2 * 4} SGD runs" in title


def test_example_dynamics_draws_the_mixture_theory_beside_the_conventional(trajectories, ensemble):
    theory, sgd = trajectories
    figure = example_dynamics(theory, sgd, "erf", "mixture", mixture=ensemble)
    assert_labelled(figure, 8)
    own = trajectories[1].sel(activation="erf", law="mixture")
    right = figure.axes[5]
    drawn = [line.get_ydata() for line in data_lines(right, 60)]
    assert len(drawn) == 4 * 4  # every entry of R: the spread of theory to both sides and its mean, then SGD
    means = ensemble["R"].sel(activation="erf").mean("run").values.reshape(60, -1)
    np.testing.assert_allclose(drawn[2], means[:, 0])
    assert abs(drawn[12] - own["R"].mean("run").values[:, 0, 0]).max() < 1e-12
    text = findings.mixture_example(trajectories[1], ensemble, "erf", "mixture").text
    assert "the mean of 10 runs differs from the mean of 4 chains" in text


def test_discrepancy_shows_both_theories_relative_to_their_scales(grid):
    figure = discrepancy_against_kl(grid, "erf", False)
    assert_labelled(figure, 6)
    for panel, name in zip(figure.axes[3:], "QRv", strict=True):
        curves = data_lines(panel, 10)
        assert len(curves) == 8  # both theories for each of four m
        own = grid[[f"M_mixture_{name}"]].sel(activation="erf", components=2)[f"M_mixture_{name}"]
        expected = own.mean(ENTRIES[name]) / (2 * SCALE[name])
        np.testing.assert_allclose(curves[4].get_ydata(), expected.mean("instance"))
    assert "theory diverged in no case" in findings.mixture_discrepancy(grid, "erf").text.lower()


def test_mixture_theory_figure_and_its_words():
    data = synthetic_mixture()
    assert_labelled(mixture_theory(data), 4)
    assert "to 0.003" in beyond_findings.mixture_sizes(data).text
    assert "0.97 ± 0.05 at η = 0.2" in beyond_findings.mixture_fluctuations(data).text
    assert "no step up to 0.4 differs" in beyond_findings.mixture_precision(data).text
    wrong = data.assign(step_error=10 * data["step_error"])
    assert "steps differ from the finest" in beyond_findings.mixture_precision(wrong).text


def test_finite_size_collapses_and_says_when_the_exponent_differs():
    figure = finite_size(synthetic_sizes())
    assert_labelled(figure, 4)
    for panel in figure.axes[2:]:
        curves = [line.get_ydata() for line in data_lines(panel, 20)]
        assert len(curves) == 3
        np.testing.assert_allclose(curves[0], curves[2], rtol=0.05)  # planted: on one curve but for the scatter
    assert "all agree with −½" in beyond_findings.sizes(synthetic_sizes()).text
    assert "M(Q) (20.0)" in beyond_findings.sizes(synthetic_sizes(exponent=-0.3)).text


def test_figures_of_laws(grid, means):
    figure = sample_mean_law(means)
    assert_labelled(figure, 3)
    for panel in figure.axes:
        assert len([line for line in panel.lines if line.get_linestyle() != "None"]) == 2  # the exact expectations
    figure = kl_against_spread(grid)
    assert_labelled(figure, 1)
    assert len(data_lines(figure.axes[0], 10)) == 4


def test_saved_figures_are_small_and_leave_settings_alone(tmp_path, trajectories):
    before = dict(mpl.rcParams)
    png, pdf = save_figure(
        example_dynamics(trajectories[0], trajectories[1], "relu", "mixture"), tmp_path / "new", "figure_2"
    )
    assert png.stat().st_size < 300_000
    assert pdf.read_bytes().startswith(b"%PDF")
    assert dict(mpl.rcParams) == before


def test_series_stay_apart_in_grey():
    lightness = [np.array(to_rgb(series.color)) @ [0.2126, 0.7152, 0.0722] for series in SERIES[:4]]
    assert min(np.diff(sorted(lightness))) > 0.05
    assert len({series.marker for series in SERIES}) == len({series.linestyle for series in SERIES}) == len(SERIES)


def test_table_is_the_mean_over_kept_instances(grid, tmp_path):
    table = discrepancy_table(grid, "relu")
    assert list(table.columns) == list(COLUMNS)
    assert list(table.index) == list(PUBLISHED["relu"].index)
    kept = grid.sel(activation="relu", standardized=True, components=2).isel(instance=[0, 2, 3, 4, 5])
    assert table.loc["M_{α=3}", "Q0,1"] == pytest.approx(kept["M_Q"].sel(spread=3).values[:, 0, 1].mean())
    assert table.loc["M_{α=9}", "v1"] == pytest.approx(kept["M_v"].sel(spread=9).values[:, 1].mean())
    assert table.loc["E[|X|]", "R1,0"] == pytest.approx(kept["scale_R"].values[:, :, 1, 0].mean())
    write_table(table, tmp_path, "table-2")
    csv, md = tmp_path / "table-2.csv", tmp_path / "table-2.md"
    pd.testing.assert_frame_equal(pd.read_csv(csv, index_col=0), table)
    assert f"| M_{{α=0}} | {table.iloc[0, 0]:.3f} |" in md.read_text(encoding="utf-8")
    assert r"| E[\|X\|] |" in md.read_text(encoding="utf-8")


def test_published_numbers_as_printed():
    erf, relu = PUBLISHED["erf"], PUBLISHED["relu"]
    assert erf.shape == relu.shape == (11, 10)
    assert (erf.loc["M_{α=0}", "Q0,0"], erf.loc["M_{α=6}", "Q1,1"], erf.loc["M_{α=9}", "v1"]) == (0.090, 0.096, 0.015)
    assert (relu.loc["M_{α=4}", "Q1,1"], relu.loc["M_{α=3}", "v0"], relu.loc["E[|X|]", "R1,1"]) == (0.044, 0.008, 0.165)
    assert erf.iloc[:-1].mean().round(4).tolist()[:2] == [0.0870, 0.0425]


def test_flatness_finds_a_planted_slope(grid):
    """Slopes of mean 2e-4 and deviation 5e-5 are planted on a straight line, so mean and error are theirs exactly."""
    planted = 2e-4 + 5e-5 * np.random.default_rng(3).standard_normal(grid.sizes["instance"])
    sloped = grid.copy(deep=True)
    line = xr.DataArray(planted, dims="instance") * grid["spread"]
    sloped["M_Q"] = 0.01 + line.expand_dims(student=2, student_=2) + 0 * grid["M_Q"]
    result = flatness(sloped, "erf")
    assert result.loc["Q0,0", "slope"] == pytest.approx(planted.mean(), rel=1e-9)
    error = planted.std(ddof=1) / np.sqrt(len(planted))
    assert result.loc["Q0,0", "standard error"] == pytest.approx(error, rel=1e-9)
    assert result.loc["Q0,0", "change"] == pytest.approx(9 * planted.mean(), rel=1e-9)
    assert "4 of the 10 slopes differ from zero (Q0,0, Q0,1, Q1,0, Q1,1)" in flatness_statement(result)


def test_flatness_of_one_instance_has_no_error(grid):
    result = flatness(grid.isel(instance=[0]), "erf")
    assert np.isnan(result["standard error"].to_numpy()).all()
    assert "cannot be tested" in flatness_statement(result)


def test_flatness_is_not_claimed_without_power(grid):
    assert "too much to call M flat" not in flatness_statement(flatness(grid, "erf"))
    assert "too much to call M flat" in flatness_statement(flatness(grid.isel(instance=[0, 1], spread=[4, 5]), "erf"))


def test_flatness_rarely_finds_a_slope_in_noise():
    """With no slope planted, a false alarm has probability 0.05 by design; the seed is fixed."""
    assert flatness_statement(flatness(synthetic_grid(components=(2,)), "relu")).startswith("None of the 10 slopes")


def test_sample_means_against_quadrature(means):
    law_means, s = means["means"].values, means.attrs["deviation"]
    functions = {"erf": lambda x: erf(x / np.sqrt(2)), "relu": lambda x: max(x, 0.0), "sign": np.sign}
    for name, f in functions.items():
        exact = [
            quad(lambda x, f=f, m=m: f(x) * norm.pdf(x, m, s), m - 12 * s, m + 12 * s, points=[0.0])[0]
            for m in law_means
        ]
        expectation = means["expectation"].sel(function=name)
        assert expectation.sel(law="mixture").item() == pytest.approx(np.mean(exact), abs=1e-8)
        sampled = means["sample_mean"].sel(function=name)
        error = sampled.std("repeat") / np.sqrt(means.sizes["repeat"])
        assert (abs(sampled.mean("repeat") - expectation) < 4 * error).all()  # 6 checks: false alarm 4e-4


def test_report_holds_every_figure_and_number(tmp_path, grid, blocks, trajectories, ensemble, means, beyond):
    datasets = {
        "grid": grid,
        "blocks": blocks,
        "examples_theory": trajectories[0],
        "examples_sgd": trajectories[1].assign_attrs(components="<script>of a store</script>"),
        "examples_mixture": ensemble,
        "sample_means": means,
        **beyond,
    }
    study = Study(**datasets, cases=left_out_cases(grid, trajectories))
    names = list(paper_figures(study))
    assert len(names) == 16 + 1  # with the instance left out
    (tmp_path / "one.png").write_bytes(one_pixel())
    figures = dict.fromkeys(names, (tmp_path / "one.png", ()))
    provenance = {"command": "sgdlimit reproduce --preset quick", "note": "<script>alert(1)</script>"}
    path = tmp_path / "report" / "index.html"
    write_report(path, study, figures=figures, provenance=provenance, preset="quick")
    html = path.read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") == len(figures)
    for name in names:
        assert f'id="{name}"' in html
    assert "http" not in html
    assert html.count("<script>") == 1  # the page's own
    assert "alert(1)</script>" not in html
    assert "&lt;script&gt;of a store" in html
    for activation in ACTIVATIONS:
        for table in (discrepancy_table(grid, activation), PUBLISHED[activation]):
            for value in table.to_numpy().ravel():
                assert f"<td>{value:.3f}</td>" in html
        for standardized in (False, True):
            for value in findings.block_ratios(blocks, activation, standardized).to_numpy().ravel():
                assert f"<td>{value:.2f}</td>" in html
    assert "above 0.1" in html  # the reason why an instance was dropped
    assert "3 SGD runs of the grid diverged" in html
    assert "N = 1000, D = 500, η = 0.2, f = sign" in html
    assert "sgdlimit reproduce --preset quick" in html
    assert "1 of 6 × 2 instances are not in the means" in html
    assert 'href="#left-out-11-relu"' in html
    assert 'id="left-out-11-relu"' in html
    said = re.findall(r'class="claimed[^>]*><h3>(.*?)</h3>', html)
    assert {"The paper claims", "The paper says", "In the paper", "In the paper&#39;s table"} == set(said)
    assert len(said) == html.count("<h3>Measured here</h3>")
    for name in names:
        assert f"<code>sgdlimit figure {name} .</code>" in html


def test_report_of_the_smallest_study(tmp_path, trajectories, ensemble, means, beyond):
    """One instance, one activation, none kept: no numbers to speak of, and it says so."""
    grid = synthetic_grid(1, components=(3,), spreads=(0, 9)).sel(activation=["relu"])
    grid["kept"] = grid["kept"] & False
    path = tmp_path / "index.html"
    write_report(
        path,
        Study(
            grid=grid,
            blocks=synthetic_blocks(1, spreads=(0, 9)).sel(activation=["relu"]),
            examples_theory=trajectories[0],
            examples_sgd=trajectories[1],
            examples_mixture=ensemble,
            sample_means=means,
            cases=left_out_cases(grid, trajectories),
            **beyond,
        ),
        figures={},
        provenance={},
        preset="quick",
    )
    assert "no instance was kept" in path.read_text(encoding="utf-8")


def test_verdicts_follow_the_numbers(grid, blocks, trajectories):
    assert "theory and SGD agree" in findings.discrepancy(grid, "erf", True).text
    raw = findings.discrepancy(grid, "erf", False).text
    assert "do not agree everywhere" in raw
    levelled = grid.assign({f"M_{name}": grid[f"M_{name}"].clip(max=SCALE[name]) for name in ENTRIES})
    assert "does not level off" not in findings.discrepancy(levelled, "erf", False).text
    theory, sgd = trajectories
    assert "theory and SGD differ" in findings.example(theory, sgd, "relu", "mixture").text
    assert "theory and SGD agree" in findings.example(theory, sgd, "relu", "standardized mixture").text
    text = findings.block_sizes(blocks, "relu", True).text
    assert "conventional theory holds for B = 1 and fails for B = 5" in text
    assert "mixture theory holds for B = 1, 500 (it does not apply to B = 5, 20)" in text
    assert "moment-matched theory does not apply" in findings.block_sizes(blocks, "relu", False).text
    claim = " ".join(line.text for line in findings.claim_and_replacement(grid, blocks, "erf"))
    assert "The claim holds where each coordinate draws its component by itself" in claim
    assert "The mixture theory replaces it there" in claim
    far = blocks.assign(noise_mixture_Q=0 * blocks["noise_mixture_Q"])  # without the scatter that explains it
    assert "mixture theory holds for no B" in findings.block_sizes(far, "relu", True).text

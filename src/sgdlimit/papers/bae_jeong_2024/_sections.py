"""The sections of the report: what the paper claims, what was measured, and the studies that go beyond it."""

from collections.abc import Iterator

from pandas import DataFrame
from xarray import Dataset

from ...plotting import ACTIVATION_LABELS
from ...report import Finding, Section, numbers
from . import _findings as findings
from ._averages import Study
from ._beyond import beyond_the_paper
from ._captions import FIGURES
from ._tables import PUBLISHED, TABLES, discrepancy_table, flatness, flatness_statement

CLAIM = (
    "With inputs standardised, the dynamics under a Gaussian mixture follow the conventional theory, as if the inputs "
    "were Gaussian; without, they diverge from it."
)
DYNAMICS = {
    False: "The dynamics diverge significantly from those under a simple Gaussian (Figure 2, ReLU).",
    True: "Except in the saturation region, where randomness has a large effect, the dynamics almost align with the "
    "conventional prediction (Figure 4, ReLU).",
}
DISCREPANCY_TITLE = "Discrepancy against D_KL, {} mixtures"
BLOCKS_TITLE = "Where universality holds and where it ends"
DISCREPANCY = {
    False: "As D_KL grows, Q and v tend to an asymptotic limit although P departs from N(0, I) (Figures 3 and S3).",
    True: "M is minimal relative to the scale of Q, R and v, at every D_KL and for every m (Figures 5 and S4).",
}


def sections(study: Study) -> list[Section]:
    """Everything but what was left out, in the order of the paper."""
    grid, blocks, names = study.grid, study.blocks, study.activations
    tables = [name for name in TABLES if name in names and 2 in grid["components"].values]
    return [
        Section(
            "What the paper claims, where it holds, and what replaces it",
            CLAIM,
            [line for name in names for line in findings.claim_and_replacement(grid, blocks, name)],
        ),
        *(section for law in (False, True) for section in _dynamics_and_discrepancy(study, law)),
        *(_table(grid, name) for name in tables),
        Section(
            "Expectations of f under a mixture",
            "The sample means of erf, ReLU and sgn under the standardised mixture and under N(0, 1) are shown as "
            "indirect evidence that E f is the same under both (Lemma C.1, Figure S1).",
            [_sample_means(study.sample_means)],
            ["figure_S1"],
        ),
        Section(
            "Distance of the mixtures from a Gaussian",
            "D_KL(P ‖ N) rises monotonically with α; more components overlap more, which reduces it (Figure S2).",
            [_distance(grid)],
            ["figure_S2"],
        ),
        Section(
            BLOCKS_TITLE,
            "Not varied. Equation (17) leaves open whether each coordinate draws its component by itself "
            "(block size B = 1, which Lemma V.1 supports) or all together (B = D, a clustered data set).",
            [findings.block_sizes(blocks, name, law) for law in findings.LAWS for name in names],
            [FIGURES[name][-1] for name in names],
            source=findings.IN_PAPER,
        ),
        *beyond_the_paper(study),
    ]


def _dynamics_and_discrepancy(study: Study, standardized: bool) -> Iterator[Section]:
    """Example dynamics and M against D_KL, Figures 2-5, S3 and S4; un-standardised, with the mixture theory."""
    grid, sgd, names = study.grid, study.examples_sgd, study.activations
    kind, law = findings.LAWS[standardized], "standardized mixture" if standardized else "mixture"
    examples = [findings.example(study.examples_theory, sgd, name, law) for name in names]
    found = [findings.discrepancy(grid, name, standardized) for name in names]
    if not standardized:
        examples += [findings.mixture_example(sgd, study.examples_mixture, name, law) for name in names]
        found += [findings.mixture_discrepancy(grid, name) for name in names]
    dynamics, discrepancy = zip(*(FIGURES[name][2 * standardized :][:2] for name in names), strict=True)
    yield Section(f"Example dynamics, {kind} mixture", DYNAMICS[standardized], examples, dynamics)
    yield Section(DISCREPANCY_TITLE.format(kind), DISCREPANCY[standardized], found, discrepancy)


def _distance(grid: Dataset) -> Finding:
    """Whether D_KL grows with α and falls with m."""
    kl = grid["kl"]
    last = kl.mean("instance").isel(spread=-1)
    values = ", ".join(f"{mean:.2f} (m = {m})" for m, mean in last.to_series().items())
    rises = "rises with α in every instance" if (kl.diff("spread") > -1e-9).all() else "does not rise with α everywhere"
    falls = "falls" if (last.diff("components") < 0).all() else "does not fall steadily"
    return Finding(
        f"D_KL {rises}. At α = {float(kl['spread'][-1]):g} its mean over {grid.sizes['instance']} instances is "
        f"{values} nats: in this sample it {falls} as components are added."
    )


def _sample_means(data: Dataset) -> Finding:
    """The exact E f under the mixture and under N(0, 1)."""
    parts = []
    for name, P, N in data["expectation"].to_series().unstack("law")[["mixture", "normal"]].itertuples():
        verdict = "equal" if abs(P - N) < 1e-12 else f"they differ by {P - N:+.4f}"
        parts.append(f"for f = {name}, {P:.4f} under P and {N:.4f} under N(0, 1), {verdict}")
    means = ", ".join(f"{mean:.2f}" for mean in data["means"].values)
    return Finding(f"Exactly, with the standardised means {means}, E f is {'; '.join(parts)}.")


def _table(grid: Dataset, activation: str) -> Section:
    """Table I or II."""
    source, printed, form = TABLES[activation], PUBLISHED[activation], "{:.3f}"
    measured, slopes = discrepancy_table(grid, activation), flatness(grid, activation)
    return Section(
        f"{source}: M for each order parameter, {ACTIVATION_LABELS[activation]}, m = 2, standardised",
        "From α = 0 to 9 no M changes: the dynamics do not feel the mixture. (This is read off the rows of the table, "
        "which are alike; the text only says that the number of components does not matter.)",
        [
            Finding(_beside(measured, printed), numbers("Measured here, mean over kept instances", measured, form)),
            Finding(flatness_statement(slopes), numbers(f"The paper's {source}", printed, form)),
            Finding(table=numbers("Slope of M against α, mean ± standard error over instances", _slopes(slopes))),
        ],
        source="In the paper's table",
    )


def _beside(measured: DataFrame, printed: DataFrame) -> str:
    """Mean M over α and entries beside the paper's, for Q, R and v."""
    parts = []
    for name in findings.METRICS:
        ours, theirs = (
            table.iloc[:-1].filter(regex=f"^{name}").mean().mean()  # without the row E[|X|]
            for table in (measured, printed)
        )
        parts.append(
            f"M({name}) is {findings.number(ours)} here, {findings.number(theirs)} in the paper "
            f"({findings.ratio(ours / theirs)} ×)"
        )
    return (
        f"Over all α and entries {'; '.join(parts)}. An M smaller than the paper's means that theory and SGD are "
        "closer, not that something is wrong."
    )


def _slopes(slopes: DataFrame) -> DataFrame:
    """The slopes in words: units, percent, – where there is no number."""
    found = 1e5 * slopes.to_xarray()
    slope = findings.intervals(found["slope"], found["standard error"], "+.1f").values
    columns = {"slope in 10⁻⁵ per unit of α": slope}
    for title, name, form in (
        ("mean M", "mean M", "{:.4f}"),
        ("change over all α, of mean M", "share", "{:+.1%}"),
        ("its size, with 95% below", "limit", "{:.1%}"),
        ("p of no slope", "p", "{:.2g}"),
    ):
        columns[title] = slopes[name].map(form.format, na_action="ignore").fillna("–")
    return DataFrame(columns, slopes.index)

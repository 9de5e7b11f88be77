"""Measure the numbers that the documentation quotes, and write them where it quotes them.

A page quotes a number as ``<!--key-->0.014<!--/-->``; the keys and the numbers are those of benchmarks/results.json.
``python tools/measure.py`` measures every part, ``python tools/numbers.py bench`` one, and ``python tools/numbers.py
pages`` only rewrites the pages. Let nothing else run meanwhile: half an hour on two cores.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import date
from math import floor, log10
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
QUOTED = re.compile(r"<!--([^/>][^>]*)-->(.*?)<!--/-->", re.DOTALL)

Numbers = dict[str, float | str]

RUNS = 24
"""Of SGD, for theories of many blocks."""


def bench() -> Numbers:
    """What `sgdlimit bench` measures, without the whole paper."""
    from sgdlimit.bench import bench as measure

    rows = measure(lambda stage, done: print(f"\r{stage} {done:.0%}", end="", flush=True), quick=True)
    return {
        f"{row.what}{field}": value
        for row in rows
        for field, value in (("", row.seconds), (": limit", row.limit_seconds), (": ratio", row.ratio))
    }


def many_blocks() -> Numbers:
    """Mixture and moment-matched theory of many blocks against the mean of 24 runs (docs/mixture.md)."""
    import sgdlimit as sl

    times = sl.log_times(10_000, 500, count=40)
    network = sl.Problem(
        input_dim=500, latent_dim=250, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2
    )
    measured: Numbers = {}
    for activation, blocks, standardize, spread in (
        ("erf", 10, True, 9.0),
        ("relu", 10, True, 9.0),
        ("erf", 25, True, 9.0),
        ("erf", 10, False, 2.0),
        ("relu", 25, False, 2.0),
    ):
        latent = sl.GaussianMixture(components=2, spread=spread, block_size=250 // blocks, standardize=standardize)
        problem = network.replace(activation=activation, latent=latent)
        instance, name = (
            problem.draw(seed=1),
            f"blocks {activation} {blocks} {'' if standardize else 'not '}standardised",
        )
        for theory in ("mixture", "moment-matched") if standardize else ("mixture",):
            runs = sl.simulate(instance, times, runs=RUNS, overlaps=theory)
            solved = sl.solve(instance, times, theory=theory)
            for quantity in ("Q", "generalization_error"):
                mean = solved[quantity].mean("run") if "run" in solved[quantity].dims else solved[quantity]
                sgd = runs[quantity]
                measured[f"{name} {theory} {quantity}"] = float(abs(mean - sgd.mean("run")).mean())
                measured[f"{name} {theory} {quantity} noise"] = float(sgd.std("run", ddof=1).mean() / RUNS**0.5)
        measured[f"{name} scale"] = float(sgd.mean())
    return measured


def diagnoses() -> Numbers:
    """M over the floor, the largest of Q, R and v, of block mixtures and of digits (docs/diagnosis.md)."""
    from sklearn.datasets import load_digits

    import sgdlimit as sl
    from sgdlimit.diagnosis import default_network

    latents = {
        f"B = {size}": sl.GaussianMixture(components=2, spread=9.0, block_size=size, standardize=True)
        for size in (1, 5, 20, 100, 500)
    }
    problem = sl.Problem(
        input_dim=1000, latent_dim=500, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2
    )
    found = {name: sl.diagnose(problem.replace(latent=latent).draw(seed=0)) for name, latent in latents.items()}
    digits = load_digits().data
    for role in ("inputs", "latent"):
        found[f"digits as {role}"] = sl.diagnose(default_network(digits, role=role, drop_constant=True))
    measured: Numbers = {}
    for name, diagnosis in found.items():
        print(diagnosis, flush=True)
        measured[f"{name} verdict"] = diagnosis.verdict
        measured[f"{name} runs"] = diagnosis.data.sizes["run"]
        M, floor, own = (
            diagnosis.data[f"{kind}_runs"].mean("run").drop_sel(quantity="generalization_error", errors="ignore")
            for kind in ("M", "floor", "gaussian")
        )
        measured[f"{name} eigenvalue"] = float(diagnosis.data["eigenvalues"].max())
        fields = diagnosis.data["fields"].mean(["field_run", "field"])
        measured[f"{name} K-S"] = float(fields.sel(statistic="kolmogorov_smirnov").max())
        measured[f"{name} kurtosis"] = float(fields.sel(statistic="excess_kurtosis").min())
        for theory in diagnosis.outcomes:
            measured[f"{name} {theory}"] = float((M / floor).sel(theory=theory).max())
            measured[f"{name} {theory} own"] = float((own / floor).sel(theory=theory).max())
    return measured


def reproduction() -> Numbers:
    """Minutes of the quick reproduction, nothing compiled and all compiled, and its estimate of the whole paper."""
    measured: Numbers = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"SGDLIMIT_CACHE_DIR": f"{folder}/programs"}
        for name in ("reproduce, first", "reproduce"):
            command = [sys.executable, "-m", "sgdlimit", "reproduce", "--out", f"{folder}/{name}"]
            start = time.perf_counter()
            printed = subprocess.check_output(command, env=environment, stderr=subprocess.DEVNULL, text=True)
            measured[name] = (time.perf_counter() - start) / 60
            print(printed, flush=True)
    measured["reproduce, the whole paper"] = float(printed.split("about ")[-1].split(" min")[0])
    return measured


PARTS: dict[str, Callable[[], Numbers]] = {
    "bench": bench,
    "reproduction": reproduction,
    "many blocks": many_blocks,
    "diagnoses": diagnoses,
}


def written(number: float | str) -> str:
    """A number with two digits, or all before the point; a text as it is."""
    if isinstance(number, str) or number == 0:
        return str(number)
    return f"{number:.{max(0, 1 - floor(log10(abs(number))))}f}"


def quoted(text: str, parts: dict[str, Any]) -> str:
    """A page with the numbers of the results where it quotes them."""
    numbers = {key: number for part in parts.values() for key, number in part["numbers"].items()}
    numbers |= {f"{name} {key}": part[key] for name, part in parts.items() for key in ("processor", "commit", "date")}
    return QUOTED.sub(lambda found: f"<!--{found[1]}-->{written(numbers[found[1]])}<!--/-->", text)


def results() -> dict[str, Any]:
    """The measured parts."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def main(names: list[str]) -> None:
    """Measure some parts, all by default, and rewrite the pages."""
    from sgdlimit.sweep import provenance

    for name in names or PARTS:
        if name == "pages":
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            numbers = PARTS[name]()
        machine = provenance()
        about = {"processor": machine["machine"], "commit": machine["commit"], "date": str(date.today())}
        rounded = {
            key: number if isinstance(number, str) else float(f"{number:.3g}")
            for key, number in numbers.items()
            if number == number  # not NaN, of theories that do not apply
        }
        RESULTS.write_text(
            json.dumps(results() | {name: about | {"numbers": rounded}}, indent=1) + "\n", encoding="utf-8"
        )
    for page in PAGES if PARTS.keys() <= results().keys() else ():
        page.write_text(quoted(page.read_text(encoding="utf-8"), results()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

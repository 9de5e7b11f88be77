"""What tests and campaigns of interrupted sweeps share: a small sweep, processes to be killed, damage, bad settings.

Run as a program it imports sgdlimit once and then runs the command line in forks of itself, as it is asked to on
standard input: so a process that is killed costs a tenth of a second instead of five.
"""

import contextlib
import ctypes
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from hypothesis import strategies as st

import sgdlimit as sl
from sgdlimit import cli
from sgdlimit.sweep import Plan, Sweep, SweepStore, _command as command, _store as store, run_sweep
from sgdlimit.sweep._cost import Cost
from sgdlimit.sweep._engine import Engine, Outcome

PROBLEM = {"input_dim": 40, "latent_dim": 20, "student_units": 1, "teacher_units": 1, "activation": "erf"}
GRID = {"learning_rate": [0.1, 0.2, 0.3]}
RUN = {
    "instances": 3, "time": 1.0, "count": 5, "noise_floor": False, "test_samples": 0, "conditions_per_task": 2,
}  # fmt: skip
"""Two tasks for each instance, the second of which does not fill its chunk."""


TRAJECTORY = xr.Dataset(
    {"Q": ("time", [1.0, np.nan]), "R": ("time", [2.0, 3.0]), "label": ("time", ["a", "bc"])},
    {"time": [0.0, 1.0]},
    {"note": "a"},
)


def settings(**run: Any) -> dict[str, Any]:
    """The small sweep, with changes to how it is run."""
    return {"problem": PROBLEM, "grid": GRID, "run": RUN | run}


def sweep_of(problem: Any = PROBLEM, grid: Any = GRID, run: Any = RUN) -> Sweep:
    """A sweep of plain tables, as a file gives them."""
    return Sweep(problem=problem, grid=grid, run=run)


def small_plan(**run: Any) -> Plan:
    """Its plan: six tasks."""
    return Plan(Sweep(**settings(**run)))


def write_toml(path: Path, **run: Any) -> Path:
    """It as a file."""
    import tomli_w

    path.write_text(tomli_w.dumps(settings(**run)), encoding="utf-8")
    return path


def chunk_key(plan: Plan, name: str, index: int) -> str:
    """The name under which an array's chunk of a task is stored."""
    places = plan.places(index)
    return f"{name}/c." + ".".join(str(places.get(dim, 0)) for dim in plan.template[name].dims)


def made_up(plan: Plan, index: int) -> dict[str, np.ndarray]:
    """Results of a task that cost nothing: random numbers that depend on its number alone."""
    rng = np.random.default_rng(index)
    found = {}
    for name, array in plan.template.isel(plan.region(index)).items():
        whole = array.dtype == "int8"
        found[name] = rng.integers(0, 2, array.shape, dtype=np.int8) if whole else rng.normal(size=array.shape)
    found["diverged_at"] = found["diverged_at"] * np.nan
    found["theory_diverged_at"] = found["theory_diverged_at"] * np.nan
    return found


class MadeUp(Engine):
    """Gives made-up results; calls ``each`` before every task."""

    def __init__(self, each: Any = lambda index: None) -> None:
        self.each = each

    @property
    def parallel(self) -> int:
        """One."""
        return 1

    def outcomes(self, plan, indices, stop) -> Iterator[Outcome]:
        """As the engine in this process does."""
        for index in indices:
            if stop.requested:
                return
            self.each(index)
            if stop.drop:
                return
            yield Outcome(index, made_up(plan, index), 0.0, {})


def fill(path: Path | str, plan: Plan | None = None) -> xr.Dataset:
    """A store of made-up results, written without an interruption; loaded."""
    with SweepStore(path, plan or small_plan()) as store:
        run_sweep(store, MadeUp())
    return sl.open_sweep(path).load()


def assert_same_bits(found: xr.Dataset, expected: xr.Dataset) -> None:
    """Every array and label, compared as bytes."""
    assert set(found.variables) == set(expected.variables)
    for name in expected.variables:
        assert found[name].values.tobytes() == expected[name].values.tobytes(), name


class Forks:
    """The command line in processes that can be killed, without starting Python anew."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, *arguments: object, **how: Any) -> int:
        """Begin one, see :func:`_child`; its number."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"arguments": [str(a) for a in arguments], **how}) + "\n")
        self._process.stdin.flush()
        return self._reply()

    def wait(self) -> tuple[int, str]:
        """The status it ended with, negative for a signal, and all it printed."""
        return self._reply()

    def run(self, *arguments: object, **how: Any) -> tuple[int, str]:
        """Both."""
        self.start(*arguments, **how)
        return self.wait()

    def _reply(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            os.dup2(write, 1)
            os.dup2(write, 2)
            _child(**request)
        os.close(write)
        print(json.dumps(child), flush=True)
        with os.fdopen(read, encoding="utf-8") as output:
            printed = output.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps((status, printed)), flush=True)


def _bind_by_permissions() -> None:
    """Give up what lets root pass by permissions, so that they bind it as they bind any user in their own folder."""
    if os.geteuid() == 0:
        header, no_capabilities = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None).capset(header, no_capabilities):
            raise OSError("capabilities cannot be given up")


def _child(
    arguments: list[str], real: bool = False, kill_at: int | None = None, bound: bool = False,
    after: dict[str, str] | None = None, slow: float = 0.0, locked: bool = True,
) -> None:  # fmt: skip
    """The command line, or ``save PATH``, which saves a small trajectory.

    ``real`` computes, otherwise results are made up, each task ``slow`` seconds; ``kill_at`` kills it at that call of
    the system which creates, fills, renames, flushes or removes a file; ``bound`` lets permissions bind root too;
    ``after`` the third task it runs a shell command; without ``locked`` it takes no lock, as on a disk that has none.
    """
    if bound:
        _bind_by_permissions()

    def each(index: int) -> None:
        time.sleep(slow)
        if after and str(index) in after:
            subprocess.run(after[str(index)], shell=True, check=True)

    if not real:
        command.cost = lambda plan, missing: Cost(len(missing), 0, 0, 0.0, 0, 0)
        command.Where.engine = lambda self, found, part: MadeUp(each)
    if not locked:
        store._locked = lambda root, path: root.mkdir(exist_ok=True)
    if kill_at is not None:
        _kill_at(kill_at)
    sys.argv = ["sgdlimit", *arguments]
    try:
        if arguments[0] == "save":
            sl.save(TRAJECTORY, arguments[1])
        else:
            cli.main()
    except SystemExit as ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(ended.code or 0))
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(99)
    os._exit(0)


def _kill_at(number: int) -> None:
    """Die at the number-th call that changes files; between a file's first and second half, say, or before a rename."""
    left = [number]

    def count() -> bool:
        left[0] -= 1
        return left[0] == 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if count():
                die()
            return function(*arguments, **options)

        return call

    opened = Path.open

    def open_half(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        file = opened(self, mode, *arguments, **options)
        if "w" in mode and self.suffix == ".partial" and count():
            file.write(b"half of it")
            file.flush()
            die()
        return file

    Path.open = open_half
    Path.replace = counted(Path.replace)
    Path.unlink = counted(Path.unlink)
    Path.mkdir = counted(Path.mkdir)
    os.fsync = counted(os.fsync)


def cut(path: Path, rng: np.random.Generator) -> None:
    """Leave the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(0, len(content))])


def flip(path: Path, rng: np.random.Generator) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


DAMAGES = {"cut": cut, "flip": flip, "remove": lambda path, rng: path.unlink()}


def files_of(store: Path) -> list[Path]:
    """All in a store that must be whole."""
    return sorted(path for path in store.rglob("*") if path.is_file() and path.name != "writer.lock")


def refused_or_right(path: Path, expected: xr.Dataset) -> str:
    """Read a damaged store: what the error says, or nothing if the numbers are right."""
    try:
        found = sl.open_sweep(path, records=True).load()
    except sl.ProblemError as error:
        return str(error)
    if bool(found["completed"].all()):
        assert_same_bits(found, expected)
    else:  # a record is gone: its task is not there
        kept = found["completed"].values
        for name in ("v", "kl"):
            assert found[name].values[kept].tobytes() == expected[name].values[kept].tobytes()
        return "not completed"
    return ""


def in_this_process(*arguments: object) -> tuple[int, str]:
    """The command line here: status, and what goes to standard error."""
    before, errors = sys.argv, io.StringIO()
    sys.argv = ["sgdlimit", *map(str, arguments)]
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            cli.main()
    except SystemExit as ended:
        return int(ended.code or 0), errors.getvalue()
    finally:
        sys.argv = before
    return 0, errors.getvalue()


REMEDY = r"[.)?] (Use|Give|Set|Write|Remove|Correct|Make|Leave|Name|Did you mean|Divide|Sort|Draw) .+[.?]$"
"""What a message ends with: a sentence that says what to do."""


def check_one_sentence(status: int, printed: str) -> None:
    """A refusal of settings: status 2, one line that says what is wrong and what to do, and no traceback."""
    assert status == 2, printed
    assert "Traceback" not in printed
    lines = printed.strip().splitlines()
    assert len(lines) == 1, printed
    assert lines[0].startswith("sgdlimit: ")
    assert len(lines[0]) < 1000
    assert re.search(REMEDY, lines[0]), printed


WRONG = [
    "nan", "-nan", "inf", "-inf", "-1", "-0.5", "1e400", "-1e-400", "1000000000", "1" + "0" * 18, "9" * 400,
    "1" * 5000, "0x" + "f" * 5000, '""', '"a\\u0000b"', '"\\u001b[31m"', '"' + "ü" * 300 + '"', "1979-05-27T07:32:00Z",
    "1979-05-27", "07:32:00", "[]", "[[]]", "[nan]", "[1, \"a\"]", "{}", "{ a = 1 }", "{ self = 1 }",
    "[" * 60 + "]" * 60, "[" * 2000 + "]" * 2000, "{a=" * 60 + "1" + "}" * 60, "'''\na\nb'''",
]  # fmt: skip
"""Values that no field takes, or almost none."""

FIELDS = {
    "problem": [
        "input_dim", "latent_dim", "student_units", "teacher_units", "activation", "teacher_activation", "latent",
        "nonlinearity", "features", "training", "switch_times", "training.schedule", "training.batch_size",
        "latent.components", "latent.spread", "latent.weights", "training.schedule.times", "student_alignment",
    ],
    "grid": ["learning_rate", "input_dim", "latent", "latent.spread", "training", "training.label_noise", "student"],
    "run": [
        "instances", "first_instance", "runs", "time", "count", "theories", "noise_floor", "test_samples", "chains",
        "trajectories", "chains_by_weights", "largest_step", "conditions_per_task", "self",
    ],
}  # fmt: skip


def toml_text(changes: dict[tuple[str, str], str]) -> str:
    """The small sweep as text, with some fields set to any text."""
    tables = {}
    for table, fields in settings().items():
        lines = {name: json.dumps(value) for name, value in fields.items()}
        tables[table] = lines | {field: text for (where, field), text in changes.items() if where == table}
    return "".join(f"[{t}]\n" + "".join(f"{k} = {v}\n" for k, v in lines.items()) for t, lines in tables.items())


@st.composite
def wrong_values(draw: st.DrawFn) -> str:
    """TOML that can be read, with one to three fields that cannot be meant."""
    places = [(table, field) for table, fields in FIELDS.items() for field in fields]
    chosen = draw(st.lists(st.sampled_from(places), min_size=1, max_size=3, unique=True))
    return toml_text({place: draw(st.sampled_from(WRONG)) for place in chosen})


@st.composite
def broken_syntax(draw: st.DrawFn) -> str | bytes:
    """A file that may be no TOML: text cut, with rubbish in it, or of nothing else."""
    text = toml_text({})
    place = draw(st.integers(0, len(text)))
    rubbish = draw(
        st.sampled_from(["[", "]]", "=", '"', "'''", "\\", "\0", "\r", "\ud7ff", "[[grid]]", "x" * 5000, "a." * 5000])
        | st.text(max_size=30)
    )
    kind = draw(st.sampled_from(["insert", "cut", "alone", "bytes"]))
    if kind == "bytes":
        return text[:place].encode() + draw(st.binary(min_size=1, max_size=20)) + text[place:].encode()
    return {"insert": text[:place] + rubbish + text[place:], "cut": text[:place], "alone": rubbish}[kind]


if __name__ == "__main__":
    _serve()

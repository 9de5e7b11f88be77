"""Where the tasks of a sweep are computed makes no difference to them, and what happens there does not either."""

import json
import multiprocessing
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from dask import config

from sgdlimit import open_sweep
from sgdlimit.errors import ProblemError
from sgdlimit.sweep import (
    Plan,
    Sweep,
    SweepStore,
    _cluster as cluster,
    _engine as engine,
    _workers as workers,
    run_sweep,
)
from sgdlimit.sweep._command import Where
from sgdlimit.sweep._cost import Cost
from sgdlimit.sweep._engine import Engine, Stop

SETTINGS = """
[problem]
input_dim = 60
latent_dim = 30
student_units = 2
teacher_units = 2
activation = "erf"
learning_rate = 0.2
latent = {{ components = 2 }}

[grid]
latent.spread = [0.0, 3.0]

[run]
instances = {instances}
runs = {runs}
time = 200.0
count = 20
test_samples = 0
"""
RUNS = 12
"""Which take a task some tenths of a second."""

ONE_CORE = 1.15
"""CPU seconds in a second, those of other threads among them."""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and processes are those of POSIX")


def settings(folder: Path, *, instances: int = 8, runs: int = RUNS) -> Path:
    path = folder / "s.toml"
    path.write_text(SETTINGS.format(instances=instances, runs=runs))
    return path


@pytest.fixture
def plan(tmp_path) -> Plan:
    return Plan(Sweep.from_toml(settings(tmp_path)))


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> dict:
    """Checksums of what this process computes; it also compiles for the workers."""
    folder = tmp_path_factory.mktemp("here")
    run(Engine(), folder / "here", Plan(Sweep.from_toml(settings(folder))))
    return checksums(folder / "here")


def run(engine: Engine, path: Path, plan: Plan, **options):
    with SweepStore(path, plan) as store:
        return run_sweep(store, engine, **options)


def checksums(path: Path) -> dict:
    """Of every chunk of every task."""
    return {record["task"]: record["digests"] for record in open_sweep(path, records=True).attrs["records"]}


def events(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_until(what: Callable[[], object], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@contextmanager
def process(*arguments: object, **options) -> Iterator[subprocess.Popen]:
    """A Python process in a group of its own, which ends with the test."""
    running = subprocess.Popen([sys.executable, *map(str, arguments)], start_new_session=True, **options)
    try:
        yield running
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()


@contextmanager
def scheduler(folder: Path, *options: object) -> Iterator[tuple[str, subprocess.Popen]]:
    """`dask scheduler` on the loopback address, and that address."""
    file = folder / "scheduler.json"
    arguments = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", file, *options)
    with process("-m", "distributed.cli.dask_scheduler", *arguments, stderr=subprocess.DEVNULL) as running:
        wait_until(lambda: file.exists() and file.read_text().endswith("}"))
        yield json.loads(file.read_text())["address"], running


def worker(address: str, folder: Path, *options: object):
    arguments = ("--nthreads", 1, "--no-nanny", "--no-dashboard", "--local-directory", folder, *options)
    return process("-m", "distributed.cli.dask_worker", address, *arguments, stderr=subprocess.DEVNULL)


def state_of_a_worker(plan: Plan) -> dict:
    """Of the threads of a process that has computed a task, and of another task."""
    from threadpoolctl import threadpool_info

    engine.run_task(plan, 0)
    start, used = time.perf_counter(), time.process_time()
    engine.run_task(plan, 0)
    used, wall = time.process_time() - used, time.perf_counter() - start
    return {
        "cores": used / wall,
        "pools": {pool["internal_api"]: pool["num_threads"] for pool in threadpool_info()},
        "numba": os.environ["NUMBA_NUM_THREADS"],
    }


def sockets(pid: int) -> list:
    return psutil.Process(pid).net_connections(kind="all")


def children() -> list[psutil.Process]:
    """Processes of this one, but for the one that multiprocessing keeps."""
    return [child for child in psutil.Process().children() if "resource_tracker" not in " ".join(child.cmdline())]


def send_state(pipe, plan) -> None:
    pipe.send((state_of_a_worker(plan), signal.pthread_sigmask(signal.SIG_BLOCK, ())))


def test_local_workers_give_the_same_bits_on_one_core_each_without_sockets(tmp_path, plan, here):
    before, killed = sockets(os.getpid()), []
    others = children()

    def kill_one(summary, outcome):
        if outcome is not None and not killed:
            ours = [child for child in children() if child not in others]
            assert len(ours) == 2
            assert not any(sockets(child.pid) for child in ours)
            assert sockets(os.getpid()) == before
            killed.append(ours[0])
            ours[0].kill()

    local = workers.LocalEngine(2)
    assert local.parallel == 2
    assert run(local, tmp_path / "there", plan, report=kill_one).complete
    assert checksums(tmp_path / "there") == here
    assert children() == others

    reader, writer = multiprocessing.Pipe(duplex=False)
    process = workers.start(send_state, writer, plan)
    state, blocked = reader.recv()
    process.join()
    assert set(state["pools"].values()) == {1}
    assert state["numba"] == "1"
    assert state["cores"] < ONE_CORE
    assert signal.SIGINT in blocked  # of the terminal
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert "PJRT_NPROC" not in os.environ


PROGRAM = """
import sgdlimit as sl
sweep = sl.Sweep.from_toml("s.toml")
print("begun")
sl.compute_sweep(sweep, "s.zarr", workers=1)
"""


def test_a_program_is_not_run_again_by_its_workers(tmp_path, here):
    """It needs no `if __name__ == "__main__"`, as other programs of multiprocessing do."""
    settings(tmp_path)
    (tmp_path / "program.py").write_text(PROGRAM)
    with process("program.py", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        said, errors = running.communicate(timeout=120)
    assert (said, errors) == ("begun\n", "")
    assert checksums(tmp_path / "s.zarr") == here


class InThread:
    """Stands in for a worker: a thread, whose pipes close when it is killed."""

    def __init__(self, act: Callable[[int], str]) -> None:
        self.killed, self.act = False, act
        (self._tasks, tasks), (outcomes, self._outcomes) = (multiprocessing.Pipe(duplex=False) for _ in range(2))
        self.worker = workers.Worker(self, tasks, outcomes)  # type: ignore[arg-type]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with self._tasks, self._outcomes, suppress(EOFError, OSError):
            while True:
                index = self._tasks.recv()
                how = self.act(index)
                if how == "half a message":
                    os.write(self._outcomes.fileno(), struct.pack("!i", 1000) + b"half")
                if how:
                    return
                self._outcomes.send(engine.Outcome(index, {}, 0.0, {}))

    def kill(self) -> None:
        self.killed = True

    def join(self) -> None:
        """Nothing waits for it."""


@pytest.fixture
def in_threads(monkeypatch):
    """Makes workers threads that call a function with each task; a word it returns is how they are lost."""
    begun: list[InThread] = []

    def use(act: Callable[[int], str]) -> list[InThread]:
        def worker(plan):
            begun.append(InThread(act))
            return begun[-1].worker

        monkeypatch.setattr(workers, "_worker", worker)
        return begun

    return use


def test_a_task_of_a_lost_worker_is_computed_by_another(plan, in_threads):
    ends = {3: ["killed", "half a message"], 5: ["killed"] * 3, 7: ["killed"] * 4}
    begun = in_threads(lambda index: ends[index].pop() if ends.get(index) else "")
    found = sorted(workers.LocalEngine(3).outcomes(plan, range(10), Stop()), key=lambda outcome: outcome.index)
    assert [outcome.index for outcome in found] == list(range(10))
    assert {outcome.index: outcome.error for outcome in found if outcome.error} == {7: workers.KILLED}
    assert not any(ends.values())
    assert all(worker.killed for worker in begun)


def test_a_stop_begins_no_task_and_a_second_one_drops_those_that_run(plan, in_threads):
    held, stop = threading.Event(), Stop()

    def act(index):
        if index > 1:
            held.wait()
        return ""

    begun = in_threads(act)
    outcomes = workers.LocalEngine(2).outcomes(plan, range(10), stop)
    assert {next(outcomes).index, next(outcomes).index} == {0, 1}  # and 2 and 3 run
    stop.ask()
    threading.Timer(0.2, held.set).start()
    assert {outcome.index for outcome in outcomes} == {2, 3}
    held.clear()
    stop = Stop()
    outcomes = workers.LocalEngine(2).outcomes(plan, range(2, 10), stop)
    threading.Timer(0.2, lambda: (stop.ask(), stop.ask())).start()
    assert list(outcomes) == []
    assert all(worker.killed for worker in begun)
    held.set()


def test_a_worker_is_sent_the_settings_and_not_the_results(plan):
    assert plan.template.nbytes > 10_000
    assert len(pickle.dumps(plan)) < 5_000


def test_workers_come_and_are_killed_and_the_scheduler_dies(tmp_path, plan, here, command):
    with scheduler(tmp_path) as (address, its), worker(address, tmp_path), worker(address, tmp_path):
        with worker(address, tmp_path, "--name", "victim") as victim:
            late: list = []
            killed_at_work = []

            def kill_at_work():  # beside the sweep, for a busy machine hears of outcomes late
                workers = there.client.scheduler_info(n_workers=-1)["workers"]
                its_address = next(a for a, w in workers.items() if w["name"] == "victim")
                wait_until(lambda: there.client.call_stack().get(its_address))
                victim.kill()
                killed_at_work.append(its_address)

            killer = threading.Thread(target=kill_at_work)

            def change(summary, outcome):
                if outcome is None:
                    wait_until(lambda: there.parallel == 3)
                    killer.start()
                    late.append(worker(address, tmp_path))
                    late[0].__enter__()

            with cluster.running_scheduler(address) as there:
                summary = run(there, tmp_path / "there", plan, report=change)
                killer.join()
                assert summary.complete
                assert not summary.failures
                assert killed_at_work
                wait_until(lambda: there.parallel == 3)
        try:
            assert checksums(tmp_path / "there") == here

            longer = settings(tmp_path, runs=4 * RUNS)
            killer = threading.Thread(
                target=lambda: (wait_until(lambda: list(Path("long.zarr/tasks").glob("*.json"))), its.kill())
            )
            killer.start()
            ended = command("sweep", longer, "--out", "long.zarr", "--scheduler", address)
            killer.join()
        finally:
            late[0].__exit__(None, None, None)
    assert ended.returncode == 1
    said = ended.stderr.strip().splitlines()[-1]
    assert said.startswith("sgdlimit: the scheduler is lost; ")
    assert "of 8 tasks are stored, the same command goes on from there" in said
    assert "Traceback" not in ended.stderr


@pytest.mark.campaign
def test_ctrl_c_finishes_what_runs_and_kill_leaves_no_orphans(tmp_path, here):
    arguments = ("-m", "sgdlimit", "sweep", settings(tmp_path, runs=4 * RUNS), "--workers", 1, "--out", "o.zarr")
    options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    log = tmp_path / "o.log.jsonl"

    def finished() -> int:
        return sum(event["event"] == "task" for event in events(log))

    with process(*arguments, **options) as main:
        wait_until(finished)
        os.killpg(main.pid, signal.SIGINT)  # what a terminal does
        said, errors = main.communicate(timeout=60)
    assert main.returncode == 130
    assert "Interrupted. To go on: sgdlimit sweep " in said
    assert "Traceback" not in errors
    assert "KeyboardInterrupt" not in errors
    names = [event["event"] for event in events(log)]
    after = names[names.index("interrupt") :]
    assert "task" in after  # the one that ran is stored
    assert len(after) <= 4  # and what waited is not begun
    assert f"{finished()} of 8 tasks" in said

    with process(*arguments, **options) as main:
        wait_until(lambda: events(log)[-1]["event"] == "begin")
        children = psutil.Process(main.pid).children(recursive=True)
        assert children
        main.kill()
        _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def batch_system(tmp_path, monkeypatch) -> Path:
    """Commands that stand in for those of SLURM and PBS: a job is a group of processes of this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    submit = (
        '#!/bin/sh\ncp "$1" "{0}.$$"\nsetsid sh "{0}.$$" >/dev/null 2>&1 &\necho $! >>"{0}"\necho "Submitted job $!"\n'
    )
    for name in ("sbatch", "qsub"):
        (folder / name).write_text(submit.format(tmp_path / "jobs"))
    for name in ("scancel", "qdel"):
        (folder / name).write_text('#!/bin/sh\nkill -9 -- "-$1" 2>/dev/null\n')
    for file in folder.iterdir():
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "jobs"


@contextmanager
def jobs_of(system: str, folder: Path, **values: object) -> Iterator[None]:
    """What a user has in ~/.config/dask/jobqueue.yaml."""
    with engine.handlers_kept():
        import dask_jobqueue as _  # noqa: F401
    values = {"cores": 1, "memory": "4GB", "interface": "lo", "local-directory": str(folder)} | values
    with config.set({f"jobqueue.{system}.{name}": value for name, value in values.items()}):
        yield


@pytest.mark.campaign
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_slurm_with_tls(tmp_path, plan, here, batch_system):
    mark = tmp_path / "prologue"
    prologue = [f'echo "$OMP_NUM_THREADS" >"{mark}"']
    configured = jobs_of("slurm", tmp_path, cores=2, **{"job-script-prologue": prologue})
    files = [str(file) for file in authority(tmp_path / "ours")]
    with configured, cluster.batch_cluster("slurm", 1, files) as jobs:
        assert run(jobs, tmp_path / "there", plan).complete
        assert jobs.parallel == 2  # processes of one thread
        assert jobs.client.scheduler.address.startswith("tls://127.0.0.1:")
    assert checksums(tmp_path / "there") == here
    assert mark.read_text() == "1\n"  # the user's prologue, and before it ours
    wait_until(lambda: not alive(int(batch_system.read_text())))


@pytest.mark.campaign
def test_a_pbs_job_that_ends_is_asked_for_again(tmp_path, plan, here, batch_system, monkeypatch):
    monkeypatch.setattr(cluster, "GONE_SECONDS", 0.5)

    def end_the_job(summary, outcome):
        if outcome is None:
            wait_until(lambda: jobs.parallel)
            jobs._renew()  # has seen the job
            os.killpg(int(batch_system.read_text()), signal.SIGKILL)

    with jobs_of("pbs", tmp_path), cluster.batch_cluster("pbs", 1) as jobs:
        assert run(jobs, tmp_path / "there", plan, report=end_the_job).complete
    assert checksums(tmp_path / "there") == here
    assert len(batch_system.read_text().split()) == 2


def test_batch_systems_that_give_no_jobs(tmp_path, batch_system):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(
        ProblemError, match=r"must have jobqueue.slurm.cores and jobqueue.slurm.memory and jobq.*interface"
    ):
        cluster.batch_cluster("slurm", 1)
    (batch_system.parent / "bin" / "sbatch").write_text("#!/bin/sh\necho invalid partition: x >&2\nexit 1\n")
    with (
        jobs_of("slurm", tmp_path),
        pytest.raises(ProblemError, match=r"none from .slurm.: invalid partition: x.\. Correct"),
    ):
        cluster.batch_cluster("slurm", 1)
    (batch_system.parent / "bin" / "qsub").unlink()
    with (
        jobs_of("pbs", tmp_path),
        pytest.raises(ProblemError, match=r"--cluster: must give jobs \(got none from 'pbs': .*'qsub'\)"),
    ):
        cluster.batch_cluster("pbs", 1)
    assert signal.getsignal(signal.SIGINT) is handler  # which dask-jobqueue would change


def authority(folder: Path) -> tuple[Path, Path, Path]:
    """PEM files of an authority, and of a certificate that it signed and its key."""
    folder.mkdir()
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for arguments in (
        ("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=authority"),
        ("req", *new, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=sweep"),
        ("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
         "-out", "cert.pem"),
    ):  # fmt: skip
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
    return folder / "ca.pem", folder / "cert.pem", folder / "key.pem"


@pytest.mark.campaign
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_tls(tmp_path, here, command, monkeypatch):
    ca, certificate, key = authority(tmp_path / "ours")
    files = ("--tls-ca-file", ca, "--tls-cert", certificate, "--tls-key", key)
    settings(tmp_path)
    with scheduler(tmp_path, "--protocol", "tls", *files) as (address, _):
        assert address.startswith("tls://127.0.0.1:")
        given = ("sweep", "s.toml", "--scheduler", address)
        with worker(address, tmp_path, *files):
            ended = command(*given, "--out", "there", *files)
        assert ended.returncode == 0, ended.stderr
        assert checksums(tmp_path / "there") == here

        monkeypatch.setattr(cluster, "CONNECT_SECONDS", 2)
        other_ca, other_certificate, other_key = authority(tmp_path / "others")
        for wrong, sentence in {
            ("--tls-ca-file", ca, "--tls-cert", other_certificate, "--tls-key", other_key): "must be where a scheduler",
            ("--tls-ca-file", other_ca, "--tls-cert", certificate, "--tls-key", key): "must be where a scheduler",
            ("--tls-ca-file", ca, "--tls-cert", certificate, "--tls-key", other_key): "must be usable for TLS (got",
            (
                "--tls-ca-file",
                ca,
                "--tls-cert",
                certificate,
                "--tls-key",
                "no.pem",
            ): "--tls-key: must be a file (got 'no.pem')",
            (): "must be usable for TLS (got nothing: no certificate). Give the PEM files",
        }.items():
            ended = command(*given, "--out", "refused", *wrong)
            assert ended.returncode == 2
            assert sentence in ended.stderr.splitlines()[-1]
            assert "Traceback" not in ended.stderr


def test_no_scheduler_answers(tmp_path, command, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    settings(tmp_path, runs=1)
    start = time.monotonic()
    ended = command("sweep", "s.toml", "--scheduler", "tcp://127.0.0.1:9")
    assert time.monotonic() - start < 30
    assert ended.returncode == 2
    assert "There is no TLS: whoever reaches the scheduler can run code" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(
        "sgdlimit: --scheduler: must be where a scheduler answers (got 'tcp://127.0.0.1:9"
    )


def test_contradictions():
    assert Where(scheduler="tcp://a:1").open_to_others
    assert Where(cluster="pbs").open_to_others
    assert not Where(scheduler="tls://a:1").open_to_others
    assert not Where(cluster="pbs", files=("ca.pem", "cert.pem", "key.pem")).open_to_others
    for where, sentence in (
        (
            lambda: Where(workers=2, scheduler="tcp://a:1"),
            "--scheduler: must not be given with --workers (got 'tcp://a:1'). Remove one.",
        ),
        (
            lambda: Where(files=(None, "c.pem", None)),
            "--tls-ca-file, --tls-cert, --tls-key: must come with --cluster or a scheduler at tls:// (got None)",
        ),
        (
            lambda: Where(scheduler="tcp://127.0.0.1:9", files=(None, None, "key.pem")),
            "--tls-ca-file, --tls-cert, --tls-key: must come with --cluster or a scheduler at tls:// (got '"
            "tcp://127.0.0.1:9'). Give its --scheduler tls://",
        ),
        (lambda: Where(scheduler="a:1"), "--scheduler: must be an address (got 'a:1'). Write it as tcp://"),
    ):
        with pytest.raises(ProblemError) as refused:
            where()
        assert str(refused.value).startswith(sentence)


def test_workers_are_started_where_they_pay(monkeypatch):
    monkeypatch.setattr("sgdlimit.sweep._command.cores", lambda: 8)

    def work(tasks: int, seconds: float) -> Cost:
        return Cost(tasks=tasks, conditions=tasks, runs=tasks, seconds=seconds, memory=1, disk=1)

    assert Where().workers_here(work(100, 1000.0)) == 8
    assert Where().workers_here(work(3, 1000.0)) == 3
    assert Where().workers_here(work(100, 10.0)) == 0
    assert Where(workers=2).workers_here(work(100, 10.0)) == 2
    assert Where(scheduler="tcp://a:1").workers_here(work(100, 1000.0)) == 0
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {"daemon": True})  # of a pool of the user's
    assert Where().workers_here(work(100, 1000.0)) == 0


def test_failures_are_named_and_stop_the_sweep_when_there_are_too_many(tmp_path, plan, command, monkeypatch):
    compute = engine.compute

    def fails(plan, index, **options):
        if index in (1, 2):
            raise ZeroDivisionError("for a test")
        return compute(plan, index, **options)

    monkeypatch.setattr(engine, "compute", fails)
    settings(tmp_path, runs=1)
    ended = command("sweep", "s.toml", "--workers", 0, "--out", "o.zarr")
    assert ended.returncode == 1
    assert "Failed: instance 1: ZeroDivisionError: for a test (" in ended.stdout
    assert "6 of 8 tasks are in o.zarr" in ended.stdout
    assert [(e["task"], e["settings"]) for e in events(tmp_path / "o.log.jsonl") if e["event"] == "failure"] == [
        (1, "instance 1"), (2, "instance 2"),
    ]  # fmt: skip

    ended = command("sweep", "s.toml", "--workers", 0, "--out", "o.zarr", "--max-failures", 1)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(
        "sgdlimit: 1 of 1 tasks ended with an error, the last at instance 1"
    )

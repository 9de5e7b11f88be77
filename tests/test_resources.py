"""Memory that a process may take: of the machine, of its control groups, of its batch job."""

import psutil
import pytest

from sgdlimit.resources import available_bytes

FREE, MIB = 10 << 30, 1 << 20


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)


class Memory:
    available = FREE


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")


def test_without_limits_it_is_the_machine(tmp_path):
    assert available_bytes(tmp_path) == FREE
    write(tmp_path / "proc/self", cgroup="0::/user.slice\n")
    write(tmp_path / "sys/fs/cgroup/user.slice", memory__max="max\n", memory__current="5\n")
    assert available_bytes(tmp_path) == FREE


def test_the_smallest_group_above_counts(tmp_path):
    """Cached files of a group can be dropped and count as free."""
    write(tmp_path / "proc/self", cgroup="0::/slurm/job_1/step_0\n")
    root = tmp_path / "sys/fs/cgroup/slurm"
    write(root / "job_1/step_0", memory__max="max", memory__current="1")
    write(root / "job_1", memory__max=str(4000 * MIB), memory__current=str(1000 * MIB),
          memory__stat=f"anon 5\ninactive_file {300 * MIB}\n")  # fmt: skip
    write(root, memory__max=str(8000 * MIB), memory__current=str(1000 * MIB))
    assert available_bytes(tmp_path) == 3300 * MIB


def test_groups_of_the_first_version(tmp_path):
    write(tmp_path / "proc/self", cgroup="5:cpu,cpuacct:/a\n4:memory:/docker/abc\n0::/\n")
    write(tmp_path / "sys/fs/cgroup/memory/docker/abc", memory__limit_in_bytes=str(2000 * MIB),
          memory__usage_in_bytes=str(500 * MIB), memory__stat=f"total_inactive_file {MIB}\n")  # fmt: skip
    write(tmp_path / "sys/fs/cgroup/memory", memory__limit_in_bytes="9223372036854771712", memory__usage_in_bytes="7")
    assert available_bytes(tmp_path) == 1501 * MIB


def test_more_than_the_limit_is_nothing_left(tmp_path):
    write(tmp_path / "proc/self", cgroup="0::/\n")
    write(tmp_path / "sys/fs/cgroup", memory__max="1000", memory__current="2000")
    assert available_bytes(tmp_path) == 0


@pytest.mark.parametrize(
    "variables", [{"SLURM_MEM_PER_NODE": "4096"}, {"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "4"}]
)
def test_a_batch_job_has_what_it_asked_for(tmp_path, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert 0 < (4096 * MIB - available_bytes(tmp_path)) < 4000 * MIB  # this process has the rest
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "0")  # all of the node's
    monkeypatch.delenv("SLURM_MEM_PER_CPU", raising=False)
    assert available_bytes(tmp_path) == FREE

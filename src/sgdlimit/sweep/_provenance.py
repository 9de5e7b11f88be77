"""Where results come from: versions, commit, machine."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("sgdlimit", "numpy", "scipy", "numba", "jax", "jaxlib", "diffrax", "xarray", "zarr", "distributed")


@cache
def provenance() -> dict[str, str]:
    """Versions of what computes, the commit of sgdlimit where it is run from a checkout, and the machine."""
    found = {package: _version(package) for package in PACKAGES}
    return found | {
        "python": platform.python_version(),
        "commit": _commit(),
        "host": platform.node(),
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """The commit of the checkout this file is in, with a + where it was changed; empty elsewhere."""
    here = Path(__file__).resolve()
    root = here.parents[3]
    if not (root / ".git").exists() or here.parents[1] != root / "src" / "sgdlimit":
        return ""
    try:
        options = {"cwd": root, "capture_output": True, "text": True, "timeout": 10, "check": True}
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **options).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **options).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+" if changed else "")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"

"""Where results come from: versions, commit, machine."""

import os
import platform
import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("sgdlimit", "numpy", "scipy", "numba", "jax", "jaxlib", "diffrax", "xarray", "zarr", "distributed")


@cache
def provenance() -> dict[str, str]:
    """Versions of what computes, the commit of sgdlimit where it is run from a checkout, and the machine."""
    return {package: version(package) for package in PACKAGES} | {
        "python": platform.python_version(),
        "commit": _commit(),
        "host": platform.node(),
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores",
    }


def _commit() -> str:
    """The commit of the checkout this file is in, with a + where it was changed; empty elsewhere."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return ""
    describe = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(describe, cwd=root, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _processor() -> str:
    with suppress(OSError, StopIteration), open("/proc/cpuinfo", encoding="utf-8") as lines:
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or "unknown processor"

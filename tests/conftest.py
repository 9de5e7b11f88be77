"""The suite reads and writes no compiled programs outside of itself; its workers share what they compile."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

CACHE = Path(tempfile.gettempdir()) / f"sgdlimit-tests-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
os.environ["SGDLIMIT_CACHE_DIR"] = str(CACHE)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave nothing behind, once the last worker is done."""
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(CACHE, ignore_errors=True)

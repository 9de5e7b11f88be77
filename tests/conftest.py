"""The suite reads and writes no compiled programs outside of itself; its workers share what they compile."""

import os
import shutil
import tempfile

import pytest

FOLDER = "SGDLIMIT_TEST_PROGRAMS"  # workers inherit it from the process that starts them

if FOLDER not in os.environ:
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="sgdlimit-tests-")
os.environ["SGDLIMIT_CACHE_DIR"] = os.environ[FOLDER]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave nothing behind, once the last worker is done."""
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(os.environ[FOLDER], ignore_errors=True)

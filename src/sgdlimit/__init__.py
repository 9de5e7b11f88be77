"""Theory and simulation of online learning in two-layer networks on structured inputs.

Everything public is here; what it needs is imported when it is first used.
"""

import os as _os

import lazy_loader as _lazy

from . import _jax as _jax  # which has to see a fork


def _compile_somewhere() -> None:
    """Name a new folder for numba's programs, if it may write neither beside the code nor in the user's cache.

    Else it refuses to compile anything. The folder goes with the process.
    """
    home = _os.path.expanduser("~")
    cache = _os.environ.get("XDG_CACHE_HOME") or _os.path.join(home, ".cache")
    places = _os.path.dirname(__file__), cache if _os.path.exists(cache) else home
    if "NUMBA_CACHE_DIR" not in _os.environ and not any(_os.access(place, _os.W_OK) for place in places):
        import atexit
        import shutil
        import tempfile

        folder = _os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="sgdlimit-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


_compile_somewhere()

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

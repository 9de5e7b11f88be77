"""The suite reads and writes no compiled programs outside of itself."""

import os

os.environ["SGDLIMIT_CACHE_DIR"] = ""

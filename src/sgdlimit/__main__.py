"""``python -m sgdlimit``."""

from sgdlimit.cli import main

main()

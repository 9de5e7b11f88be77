"""``python -m sgdlimit``."""

from .cli import main

main()

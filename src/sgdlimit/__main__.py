"""``sgdlimit`` and ``python -m sgdlimit``: an interruption is one sentence, also while the commands are imported."""

import signal
import sys


def main() -> None:
    """Run the command line; SIGTERM, which batch systems send, interrupts it as Ctrl-C does."""
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        from .cli import main as commands

        commands()
    except KeyboardInterrupt:
        print("sgdlimit: interrupted before anything was done", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()

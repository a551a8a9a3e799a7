"""`python -m infctl`, and the `infctl` command."""

from __future__ import annotations

import gc
import sys

from infctl import interrupts

OBJECTS = 50_000
"""Made between two looks for garbage. A command lives for a moment, and most of what it makes stays: modules.
Python's own 700 would cost it a tenth of its time."""


def main() -> None:
    """Run the command line of this process and leave with its exit code."""
    gc.set_threshold(OBJECTS)
    interrupts.keep()
    try:
        from infctl.cli.app import run  # noqa: PLC0415 - `infctl` is imported by programs that need no CLI

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:  # before, or after, anything could catch it
        sys.exit(130)


if __name__ == "__main__":
    main()

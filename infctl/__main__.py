"""`python -m infctl`, and the `infctl` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process and leave with its exit code."""
    try:
        from infctl.cli.app import run  # noqa: PLC0415 - `infctl` is imported by programs that need no CLI

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:  # before, or after, anything could catch it
        sys.exit(130)


if __name__ == "__main__":
    main()

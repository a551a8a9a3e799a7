"""python -m gateway --config gateway.yaml [--check]"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Final

USAGE: Final = """\
usage: python -m gateway --config FILE [--check]

  --config FILE   gateway.yaml
  --check         read FILE and the keys it names, say what is wrong, and exit
  --version

Signals: HUP reads FILE and its .env again; TERM and INT let requests finish, then stop;
a second INT stops at once.
Exit codes: 0 stopped or nothing wrong, 3 the configuration cannot be used, 5 the address is taken, 64 usage.
"""


def main(argv: list[str]) -> int:
    # No argparse: it costs an idle gateway a megabyte, and there are three options.
    if "--help" in argv or "-h" in argv:
        sys.stdout.write(USAGE)
        return 0
    if argv == ["--version"]:
        from gateway.version import version  # noqa: PLC0415

        sys.stdout.write(f"{version()}\n")
        return 0
    file, check = _options(argv)
    if file is None:
        sys.stderr.write(USAGE)
        return 64
    from gateway.config import ConfigError  # noqa: PLC0415 - usage errors need none of it
    from gateway.settings import read_sources, settings_of  # noqa: PLC0415
    from gateway.tenants import open_store  # noqa: PLC0415

    path = Path(file).absolute()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the loop hears it: an end without a traceback
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it means "reload", it must not mean "die"
    try:
        sources = read_sources(path)
        settings = settings_of(sources, os.environ)
        if not check and (store := open_store(settings, sources.file)) is not None:
            store.close()  # it can be used, and has the version of today: workers open it side by side
    except ConfigError as error:
        sys.stderr.write("".join(f"error: {error.file}: {problem}\n" for problem in error.problems))
        return 3
    if check:
        sys.stdout.write(f"{path}: {len(settings.config.models)} models, nothing wrong\n")
        return 0
    if settings.config.workers > 1:
        from gateway.workers import parent  # noqa: PLC0415 - it serves nothing

        return parent.run(sources, path, os.environ, settings.config.workers)
    from gateway.app import run  # noqa: PLC0415

    return run(settings, path)


def _options(argv: list[str]) -> tuple[str | None, bool]:
    """The file, or None where the command line cannot be used."""
    rest = [word for word in argv if word != "--check"]
    match rest:
        case ["--config", file]:
            return file, "--check" in argv
        case [word] if word.startswith("--config="):
            return word.removeprefix("--config="), "--check" in argv
    return None, False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

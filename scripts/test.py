"""Runs the suite in two parts: what can share the machine with others, then what has to have it alone.

There are more workers than cores, since most of the time goes by with waiting for containers and engines.

Both parts run, also when the first one fails; the exit code is the first failure's. The last line is the two
closing lines of pytest added up. Arguments go to both parts: `make test ARGS="-x -k gateway"`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence

PARTS = (
    ("what can run side by side", ("-n", "3", "-m", "not serial")),
    ("what runs alone, as it measures time", ("-n", "0", "-m", "serial")),
)
NOTHING_COLLECTED = 5
ORDER = ("failed", "errors", "passed", "skipped", "deselected", "xfailed", "xpassed", "warnings")
_COUNT = re.compile(r"(\d+) (failed|errors?|passed|skipped|deselected|xfailed|xpassed|warnings?)")
_CLOSING = re.compile(r"^(?:\x1b\[[\d;]*m)*=* ?.*\b(?:in [\d.]+s|no tests ran)")


def main(arguments: Sequence[str]) -> int:
    began = time.monotonic()
    codes: list[int] = []
    total: Counter[str] = Counter()
    for what, options in PARTS:
        sys.stdout.write(f"\n--- {what}\n")
        code, closing = run([*options, *arguments])
        if code < 0 or code == 2:  # killed, or interrupted by the keyboard
            return abs(code)
        codes.append(code)
        total += counts(closing)
    failed = [code for code in codes if code not in {0, NOTHING_COLLECTED}]
    if not failed and set(codes) == {NOTHING_COLLECTED}:
        failed = [NOTHING_COLLECTED]
    sys.stdout.write("\n" + closing_line(total, time.monotonic() - began) + "\n")
    return failed[0] if failed else 0


def run(options: Sequence[str]) -> tuple[int, str]:
    """One pytest, its output passed on as it comes; its exit code and its closing line."""
    colour = ["--color=yes"] if sys.stdout.isatty() else []
    argv = [sys.executable, "-m", "pytest", *colour, *options]
    closing = ""
    # Python's own cache is used, whatever the shell says: without it half of the time is compiling.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True, errors="replace") as pytest:
        try:
            for line in pytest.stdout or ():
                sys.stdout.write(line)
                sys.stdout.flush()
                if _CLOSING.match(line):
                    closing = line
        except KeyboardInterrupt:
            pytest.wait()  # it has had the signal too and is tidying up
            return 2, closing
    return pytest.returncode, closing


def counts(closing: str) -> Counter[str]:
    """`= 3 passed, 1 error in 0.1s =` -> passed 3, errors 1. Deselected ones run in the other part."""
    found: Counter[str] = Counter()
    for number, word in _COUNT.findall(re.sub(r"\x1b\[[\d;]*m", "", closing)):
        found[{"error": "errors", "warning": "warnings"}.get(word, word)] += int(number)
    del found["deselected"]
    return found


def closing_line(total: Counter[str], seconds: float) -> str:
    parts: Iterable[str] = (f"{total[word]} {word}" for word in ORDER if total[word])
    return f" {', '.join(parts) or 'no tests ran'} in {seconds:.2f}s ".center(80, "=")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A process that writes a trail as fast as it can, until it is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gateway.audit.anchors import FileAnchors
from gateway.audit.writer import Rules, Trail
from tests.gateway.process import ROOT

KEY = b"an audit key"


def started(folder: Path, anchors: Path) -> subprocess.Popen[bytes]:
    """It has its chain, and writes."""
    argv = [sys.executable, "-m", "tests.gateway.audit.writing", str(folder), str(anchors)]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def killed(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(10)
    assert process.stdout is not None
    process.stdout.close()


def main(folder: str, anchors: str) -> None:
    rules = Rules(rotate_bytes=20_000, batch_s=0.0)
    trail = Trail(Path(folder), FileAnchors(Path(anchors)), KEY, rules, alarm=lambda *_: None)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    n = 0
    while True:
        if trail.waiting < 200:
            trail.record({"event": "request", "n": n, "pad": "x" * (n % 300)})
            n += 1


if __name__ == "__main__":
    main(*sys.argv[1:])

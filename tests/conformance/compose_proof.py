"""`make proof-compose`: 500 random profiles, each refused with the reason, or rendered and taken by Compose.

python -m tests.conformance.compose_proof [COUNT]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings

from tests.conformance import compose_files
from tests.conformance.compose_random import Refused, faults, outcome, profiles, unexplained

COUNT = 500
AT_ONCE = 2
"""Compose processes, of one core each."""


@dataclass
class Tried:
    drawn: int = 0
    rendered: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)

    def figure(self) -> str:
        return (
            f"{self.drawn} random profiles: {self.rendered} rendered and taken by Compose, "
            f"{self.refused} refused with the reason, {len(self.faults)} faults"
        )


def tried(count: int, folder: Path) -> Tried:
    """All of one run; Compose is asked last, several at a time, because each question takes a process."""
    found = Tried()
    seen: list[tuple[Mapping[str, Any], tuple[Path, ...]]] = []

    @settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(data=profiles())
    def draw(data: dict[str, Any]) -> None:
        found.drawn += 1
        one = outcome(data, folder)
        if isinstance(one, Refused):
            found.refused += 1
            wrong = unexplained(one)
        else:
            found.rendered += 1
            wrong = faults(one, outcome(data, folder))
            seen.append((data, compose_files.written(one.files, folder / str(found.rendered))))
            wrong += [said for file in seen[-1][1] for said in compose_files.against_schema(file.read_text())]
        found.faults += [f"{said}\n{yaml.safe_dump(data)}" for said in wrong]

    draw()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = [(data, file) for data, files in seen for file in files]
        for (data, _), said in zip(
            asked, pool.map(compose_files.refused, (f for _, f in asked)), strict=True
        ):
            if said:
                found.faults.append(f"Compose: {said}\n{yaml.safe_dump(dict(data))}")
    return found


def main(argv: list[str]) -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = tried(int(argv[0]) if argv else COUNT, Path(folder))
    for fault in found.faults[:10]:
        sys.stdout.write(f"{fault}\n")
    sys.stdout.write(f"{found.figure()} ({time.monotonic() - began:.0f} s)\n")
    return 1 if found.faults or not found.rendered or not found.refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

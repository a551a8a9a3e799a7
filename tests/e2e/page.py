"""The reference platform's page as a list to tick off: its commands run as they are written there."""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMANDS = Path(__file__).parents[1] / "golden" / "reference_page" / "commands.txt"
KEY_AS_WRITTEN = "YOUR_GATEWAY_API_KEY"
RUN_S = 240.0
FOLLOW_S = 30.0


@dataclass(frozen=True)
class Answer:
    """Of one curl, whose configuration adds the status as a last line."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Page:
    """Runs what is next in a section, in the platform's folder, with `bash`."""

    folder: Path
    env: Mapping[str, str]
    key: str = ""
    left: dict[str, list[str]] = field(default_factory=lambda: sections(COMMANDS.read_text("utf-8")))

    def tick(self, section: str, begins: str) -> str:
        """The section's next line, which has to begin so; it is done then."""
        line = self.left[section].pop(0)
        assert line.startswith(begins), f"[{section}] goes on with {line!r}"
        return line

    def run(self, section: str, begins: str, *, code: int = 0) -> str:
        """Its output and errors."""
        line = self.tick(section, begins)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line.replace(KEY_AS_WRITTEN, self.key)],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def curl(self, section: str, begins: str) -> Answer:
        text, _, status = self.run(section, begins).rstrip().rpartition("\n")
        return Answer(int(status), text)

    def follow(self, section: str, begins: str, until: str) -> None:
        """One that ends by Ctrl-C alone: until it has said something."""
        line = self.tick(section, begins)
        process = subprocess.Popen(
            ["bash", "-c", f"exec {line}"],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            said, deadline = b"", time.monotonic() + FOLLOW_S
            assert process.stdout is not None
            with selectors.DefaultSelector() as ready:
                ready.register(process.stdout, selectors.EVENT_READ)
                while until.encode() not in said:
                    assert ready.select(deadline - time.monotonic()), (
                        f"{line}: no {until!r} in {said[-2000:]!r}"
                    )
                    piece = os.read(process.stdout.fileno(), 65_536)
                    assert piece, f"{line} ended: {said[-2000:]!r}"
                    said += piece
            assert process.poll() is None, f"{line} does not follow"
        finally:
            process.kill()
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()


def sections(text: str) -> dict[str, list[str]]:
    """Title -> its lines; what a backslash, a quote or an indent goes on with is one line."""
    found: dict[str, list[str]] = {}
    for block in re.split(r"\n\n(?=\[)", text.strip()):
        title, _, body = block.partition("\n")
        lines: list[str] = []
        for line in body.splitlines():
            goes_on = lines and (line.startswith(" ") or lines[-1].endswith("\\") or lines[-1].count("'") % 2)
            if goes_on:
                lines[-1] += f"\n{line}"
            else:
                lines.append(line)
        found[title.strip("[]")] = lines
    return found

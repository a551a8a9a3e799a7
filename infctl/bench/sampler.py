"""Looks at the servers' /metrics while a run goes on, in a process of its own: a page takes milliseconds.

`Watching` belongs to the measuring process. `python -m infctl.bench.sampler` gets what to look at as a line
of JSON on its stdin (a key is no argument), says `ready`, appends a line for each look to a file, and ends
with its stdin.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from infctl.bench import server_side
from infctl.bench.server_side import NVML_CARDS, NVML_ENERGY, NVML_HEAT, Look, Sample

EVERY_S = 1.0
_ANSWER_S = 5.0
_START_S = 5.0
_FIRST_S = 0.2
_PAGE_BYTES = 16 * 2**20
_HOT_BITS = 0x08 | 0x20 | 0x40
_DRIVER = Path("/dev/nvidiactl")
"""It is there where NVIDIA's driver is."""


@dataclass(frozen=True, slots=True)
class Page:
    """One /metrics, by its whole URL."""

    url: str
    key: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    insecure: bool = False


def fetch(page: Page) -> str | None:
    """None: nobody there, or no such page."""
    headers = {"authorization": f"Bearer {page.key}"} if page.key else {}
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    try:
        if page.url.startswith("https:"):
            context = ssl.create_default_context(cafile=page.ca_file)
            if page.insecure:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            handlers.append(urllib.request.HTTPSHandler(context=context))
        asked = urllib.request.Request(page.url, headers=headers)  # noqa: S310 - http or https, checked
        with urllib.request.build_opener(*handlers).open(asked, timeout=_ANSWER_S) as answer:
            read: bytes = answer.read(_PAGE_BYTES)
            return read.decode("utf-8", "replace")
    except (OSError, ValueError, urllib.error.URLError):
        return None


@dataclass(frozen=True, slots=True)
class Inside:
    """Pages that this machine does not reach, and somebody does: engines on a network of their containers."""

    ask: Callable[[], Sequence[str]]
    """Their texts, of those that answer."""
    module: str
    """What looks at them in the process beside a run: its main is `main` of this module, told how."""
    told: Any
    """For that module, as JSON."""
    every_s: float = 5.0
    """A look costs more than a page does."""


def look(
    pages: Sequence[Page], model: str, cards: frozenset[str], others: Sequence[str] = ()
) -> dict[str, float] | None:
    texts = [*(fetch(page) for page in pages), *others]
    return server_side.together(server_side.read(text, model, cards) for text in texts if text)


@dataclass(frozen=True, slots=True)
class Watched:
    before: Look
    after: Look
    samples: tuple[tuple[float, Look], ...]
    """Time of day, and what was seen."""

    def since(self, began_wall: float) -> tuple[Sample, ...]:
        return tuple(Sample(round(at - began_wall, 3), found) for at, found in self.samples)


class Watching:
    """`begin()` before the run, `end()` behind it; neither raises for a server that says nothing."""

    def __init__(
        self,
        pages: Sequence[Page],
        model: str,
        *,
        cards: frozenset[str] = frozenset(),
        local: bool = False,
        every_s: float = EVERY_S,
        inside: Inside | None = None,
    ) -> None:
        """`local`: the cards are this machine's, and NVML may be asked."""
        self._inside = inside
        self._pages, self._model, self._cards = tuple(pages), model, cards
        self._nvml, self._every_s = local and _DRIVER.exists(), every_s
        self._before: Look | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._file: Path | None = None

    def begin(self) -> Self:
        self._before = self._look()
        if self._nvml or (self._before is not None and server_side.is_worth_sampling(self._before)):
            with contextlib.suppress(OSError):
                self._start()
        return self

    def _look(self) -> Look | None:
        others = self._inside.ask() if self._inside is not None else ()
        return look(self._pages, self._model, self._cards, others)

    def _start(self) -> None:
        number, name = tempfile.mkstemp(prefix="infctl-bench-", suffix=".jsonl")
        os.close(number)
        self._file = Path(name)
        wanted = {
            "pages": [[page.url, page.key, page.ca_file, page.insecure] for page in self._pages],
            "model": self._model,
            "cards": sorted(self._cards),
            "nvml": self._nvml,
            "every_s": self._every_s if self._inside is None else self._inside.every_s,
            "inside": None if self._inside is None else self._inside.told,
            "file": name,
        }
        module = __name__ if self._inside is None else self._inside.module
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the measurement
        )
        self._process = process
        if process.stdin is not None and process.stdout is not None:
            process.stdin.write(json.dumps(wanted).encode() + b"\n")
            process.stdin.flush()
            select.select([process.stdout], [], [], _START_S)

    def end(self) -> Watched | None:
        samples = self._end()
        if self._before is None and not samples:
            return None
        after = self._look()
        if self._before is None or after is None:
            return Watched({}, {}, samples) if samples else None
        return Watched(self._before, after, samples)

    def _end(self) -> tuple[tuple[float, Look], ...]:
        process, file = self._process, self._file
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            try:
                process.wait(_ANSWER_S * 2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if file is None:
            return ()
        try:
            return tuple(_read(file.read_bytes()))
        finally:
            file.unlink(missing_ok=True)


def _read(text: bytes) -> list[tuple[float, Look]]:
    found = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError, KeyError):  # the last may be half a line of one that was killed
            told = json.loads(line)
            found.append((float(told["at"]), told["look"]))
    return found


# The process that looks


def nvml_reader(library: Any, cards: frozenset[str]) -> Callable[[], dict[str, float]]:
    """Of the module pynvml: energy of all cards together, and how many of them are slowed by heat.

    Raises the library's NVMLError where there is no driver.
    """
    library.nvmlInit()
    handles = []
    for number in range(int(library.nvmlDeviceGetCount())):
        handle = library.nvmlDeviceGetHandleByIndex(number)
        uuid = library.nvmlDeviceGetUUID(handle)
        uuid = uuid.decode() if isinstance(uuid, bytes) else uuid
        if not cards or cards & {uuid, str(number)}:
            handles.append(handle)

    def read() -> dict[str, float]:
        found: dict[str, float] = {}
        with contextlib.suppress(library.NVMLError):  # cards before Volta do not count their energy
            found[NVML_ENERGY] = float(sum(library.nvmlDeviceGetTotalEnergyConsumption(h) for h in handles))
        with contextlib.suppress(library.NVMLError):
            reasons = [int(library.nvmlDeviceGetCurrentClocksEventReasons(h)) for h in handles]
            found |= {NVML_CARDS: len(reasons), NVML_HEAT: sum(bool(bits & _HOT_BITS) for bits in reasons)}
        return found

    return read


def main(others: Callable[[Any], Callable[[], Sequence[str]]] | None = None) -> None:
    """`others`: from what `Inside` told to what gives the texts of its pages."""
    wanted = json.loads(sys.stdin.buffer.readline())
    inside = others(wanted["inside"]) if others is not None else tuple
    pages = [Page(*page) for page in wanted["pages"]]
    cards = frozenset(wanted["cards"])
    more: Callable[[], dict[str, float]] | None = None
    if wanted["nvml"]:
        library: Any = importlib.import_module("pynvml")
        with contextlib.suppress(library.NVMLError, OSError):  # no driver: it is then not asked
            more = nvml_reader(library, cards)
    with Path(wanted["file"]).open("ab", buffering=0) as file:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        # The first look is soon: a short run is seen too, but not the moment before it.
        due = time.monotonic() + min(_FIRST_S, wanted["every_s"])
        # stdin's end, or nothing for so long: nobody writes more than the first line.
        while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            at = time.time()
            seen = look(pages, wanted["model"], cards, inside())
            found = server_side.together([seen, more() if more else None])
            if found is not None:
                line = {"at": round((at + time.time()) / 2, 4), "look": found}
                file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            due = max(due + wanted["every_s"], time.monotonic())


if __name__ == "__main__":
    main()

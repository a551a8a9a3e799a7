"""From the last line of a service's log to the phase a person waits through. Pure."""

from __future__ import annotations

import re

_PHASES = (
    ("unpacking weights", r"[Uu]npack|dequantiz|[Dd]ownload"),
    (
        "reading its configuration",
        r"non-default args|Resolved architecture|Automatically detected|version \d",
    ),
    ("starting the engine", r"[Ii]nitializing|EngineCore|distributed|backend|Using .*attention"),
    (
        "loading weights",
        r"[Ll]oading (model )?weights|checkpoint shards|safetensors|load model|Model loading",
    ),
    ("measuring memory", r"KV cache|cache blocks|kv_cache|Maximum concurrency|[Mm]emory profiling"),
    ("warming up", r"[Ww]arm|Capturing CUDA graph|Graph capturing|torch\.compile|[Cc]ompil|init engine"),
    ("opening its port", r"Application startup|Starting vLLM (API )?server|Uvicorn running|Route:"),
)
"""In the order they come; a line that fits several belongs to the latest."""

FIRST = "starting"
QUIET = frozenset({"gateway", "edge", "monitoring", "prepare", "store"})
"""Roles whose log says nothing of how far a start is."""
LINE_CHARACTERS_MAX = 70
_ORDER = {FIRST: -1, **{name: number for number, (name, _) in enumerate(_PHASES)}}


def phase(role: str, before: str, line: str) -> str:
    """By the role of what starts: an engine has phases, a download says itself how far it is."""
    if role == "engine":
        return phase_after(before, line)
    if role in QUIET or not line.strip():
        return before
    said = " ".join(line.split())
    return said if len(said) <= LINE_CHARACTERS_MAX else f"{said[: LINE_CHARACTERS_MAX - 1]}…"


def phase_after(before: str, line: str) -> str:
    """The phase once `line` was written; phases never go back, whatever a log says."""
    found = [name for name, pattern in _PHASES if re.search(pattern, line)]
    return max((before, *found), key=lambda name: _ORDER.get(name, -1))

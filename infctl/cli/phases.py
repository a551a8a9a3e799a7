"""From the last line of an engine's log to the phase a person waits through. Pure."""

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

FIRST = "starting Python"
_ORDER = {FIRST: -1, **{name: number for number, (name, _) in enumerate(_PHASES)}}


def phase_after(before: str, line: str) -> str:
    """The phase once `line` was written; phases never go back, whatever a log says."""
    found = [name for name, pattern in _PHASES if re.search(pattern, line)]
    return max((before, *found), key=lambda name: _ORDER.get(name, -1))

"""From the last line of an engine's log to the phase a person waits through. Pure."""

from __future__ import annotations

import re

_PHASES = (
    (r"Application startup complete|Starting vLLM (API )?server|Uvicorn running", "opening its port"),
    (r"warm|Warm|Capturing CUDA graph|Graph capturing|torch\.compile|Compiling", "warming up"),
    (r"KV cache|cache blocks|kv_cache|Maximum concurrency|Memory profiling", "measuring memory"),
    (
        r"[Ll]oading (model )?weights|checkpoint shards|Loading safetensors|load model|Model loading",
        "loading weights",
    ),
    (r"[Ii]nitializing|init engine|EngineCore|distributed|backend|Using .*attention", "starting the engine"),
    (
        r"version|non-default args|Resolved architecture|Automatically detected|vLLM",
        "reading its configuration",
    ),
    (r"[Uu]npack|dequantiz|[Dd]ownload", "unpacking weights"),
)


def phase_of(line: str) -> str:
    """A few words, or an empty string when the line says nothing about it."""
    return next((words for pattern, words in _PHASES if re.search(pattern, line)), "")

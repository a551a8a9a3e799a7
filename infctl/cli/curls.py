"""Three requests to copy: a chat, a streamed chat, an embedding. The key is never shown. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def lines(
    models: Sequence[Mapping[str, Any]],
    *,
    url: str,
    ca_file: Path | None,
    env_file: Path | None,
    key_name: str = "GATEWAY_API_KEY",
) -> list[str]:
    """`models` is /health/detailed's list; what no model serves is left out."""
    chat = _first(models, "chat") or _first(models, "text2sql")
    embed = _first(models, "embed")
    out = [f"set -a; . {shlex.quote(str(env_file))}; set +a"] if env_file is not None else []
    trust = f" --cacert {shlex.quote(str(ca_file))}" if ca_file is not None else ""

    def curl(path: str, body: dict[str, Any], flags: str = "") -> str:
        return (
            f"curl -s{flags}{trust} {url}{path} "
            f'-H "Authorization: Bearer ${key_name}" -H "Content-Type: application/json" '
            f"-d {shlex.quote(json.dumps(body))}"
        )

    if chat is not None:
        ask = {"model": chat, "messages": [{"role": "user", "content": "What is the capital of France?"}]}
        out.append(curl("/v1/chat/completions", {**ask, "max_tokens": 64}))
        out.append(curl("/v1/chat/completions", {**ask, "max_tokens": 64, "stream": True}, flags="N"))
    if embed is not None:
        out.append(curl("/v1/embeddings", {"model": embed, "input": "A cat sits on the mat"}))
    return out


def _first(models: Sequence[Mapping[str, Any]], task: str) -> str | None:
    return next((str(model["name"]) for model in models if task in model.get("tasks", ())), None)

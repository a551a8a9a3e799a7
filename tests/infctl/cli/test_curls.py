"""Three lines to copy."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from infctl.cli.curls import lines

MODELS = [{"name": "chat", "tasks": ["chat"]}, {"name": "embed", "tasks": ["embed", "rerank"]}]


def test_the_lines_chat_stream_and_embed_through_the_edge_without_showing_the_key() -> None:
    told = lines(
        MODELS, url="https://localhost:8443", ca_file=Path("/p q/ca.crt"), env_file=Path("/p q/.env")
    )
    assert told[0] == "set -a; . '/p q/.env'; set +a"
    words = [shlex.split(line) for line in told[1:]]
    assert [w[:4] for w in words] == [
        ["curl", "-s", "--cacert", "/p q/ca.crt"],
        ["curl", "-sN", "--cacert", "/p q/ca.crt"],
        ["curl", "-s", "--cacert", "/p q/ca.crt"],
    ]
    bodies = [json.loads(w[-1]) for w in words]
    assert [b["model"] for b in bodies] == ["chat", "chat", "embed"]
    assert bodies[1]["stream"] is True
    assert all("Bearer $GATEWAY_API_KEY" in line for line in told[1:])


def test_what_no_model_serves_is_left_out() -> None:
    told = lines(MODELS[1:], url="http://127.0.0.1:8000", ca_file=None, env_file=None)
    assert len(told) == 1
    assert "/v1/embeddings" in told[0]
    assert lines([], url="http://x", ca_file=None, env_file=None) == []

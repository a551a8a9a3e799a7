"""The keys of every `--json` answer. They are a promise: keys may be added, none is renamed or removed.

A value is written as its type; `?` means null is possible; `[x]` is a list of x.
"""

from __future__ import annotations

ERROR = {
    "error": {
        "kind": "string: usage, profile, plan, engine, gateway, lock, internal, interrupted",
        "exit_code": "integer",
        "message": "string",
        "hint": "string",
        "problems": [
            {
                "message": "string",
                "path": "string, such as models/chat/replicas",
                "file": "string?",
                "line": "integer?",
                "column": "integer?",
                "hint": "string",
            }
        ],
        "log": ["string: the last lines of the service that failed"],
    }
}
_ACTION = {
    "kind": "string: start, replace, reload, remove, supervise",
    "service": "string",
    "cause": "string",
}
_FILE_CHANGE = {
    "path": "string",
    "change": "string: new, changed, hand_edited, gone",
    "diff": "string, unified",
}
_ANSWER = {
    "model": "string",
    "task": "string",
    "question": "string",
    "answer": "string: what it said, or why it said nothing",
    "answered": "boolean",
    "right": "boolean?: null where nobody can say",
    "seconds": "number",
}
_ACTUAL = {
    "service": "string",
    "planned_kv_tokens": "integer?",
    "planned_num_gpu_blocks": "integer?",
    "actual_kv_tokens": "integer?: null where it has not started here with these settings",
    "actual_num_gpu_blocks": "integer?",
    "difference_percent": "number?: of the tokens",
    "starts": "integer",
}
INIT = {
    "profile": "string",
    "schema": "string",
    "from": "string",
    "env_file": "string",
    "keys_added": ["string"],
    "machine": {
        "system": "string",
        "cpus": "integer",
        "memory_bytes": "integer?",
        "vector": "string?: avx512, avx2",
        "gpus": [{"name": "string", "memory_bytes": "integer"}],
        "docker": "boolean",
    },
}
PROFILES = {"profiles": [{"name": "string", "summary": "string"}]}
VALIDATE = {
    "ok": "boolean",
    "name": "string",
    "runtime": "string: process, docker",
    "files": ["string"],
    "models": [{"name": "string", "tasks": ["string"], "replicas": "integer", "aliases": ["string"]}],
    "warnings": ["string"],
    "missing_secrets": ["string"],
}
RENDER = {"directory": "string", "files": [{"path": "string", "bytes": "integer", "sha256": "string"}]}
DIFF = {
    "name": "string",
    "changes": "boolean",
    "actions": [_ACTION],
    "files": [_FILE_CHANGE],
    "warnings": ["string"],
}
STATUS = {
    "name": "string",
    "runtime": "string",
    "supervised": "boolean",
    "supervisor": {
        "pid": "integer?",
        "state": "string: ready, stopped",
        "memory_bytes": "integer?",
        "why": "string",
    },
    "now": "number: seconds since the epoch",
    "gateway": {
        "url": "string",
        "reachable": "boolean",
        "status": "string: ok, degraded, down, unknown",
        "version": "string",
        "draining": "boolean",
        "why": "string: why it cannot be asked",
    },
    "services": [
        {
            "name": "string",
            "role": "string: engine, gateway, edge",
            "models": ["string"],
            "state": "string: ready, loading, waiting, backoff, failed, stopped, stopping, "
            "down, drained, draining",
            "pid": "integer?",
            "device": "string: CPU, or the GPU's number",
            "memory_bytes": "integer?",
            "in_flight": "integer?",
            "requests": "integer?",
            "errors": "integer?",
            "restarts": "integer",
            "started_at": "number?: seconds since the epoch",
            "why": "string",
        }
    ],
    "warnings": ["string"],
}
UP = {
    "name": "string",
    "changes": "boolean",
    "actions": [_ACTION],
    "files": [_FILE_CHANGE],
    "applied": "boolean: false with --dry-run",
    "answers": [_ANSWER],
    "measured": [_ACTUAL],
    "status": "as of `infctl status`; null with --dry-run",
}
DOWN = {"name": "string", "stopped": ["string"], "removed": ["string"]}
RESTART = {"name": "string", "restarted": ["string"], "ready_s": "object: service -> seconds"}
HEALTH = {
    "healthy": "boolean",
    "status": "string: ok, degraded, down",
    "reasons": ["string"],
    "answers": [_ANSWER],
    "via": "string?: where the questions went",
    "checked_at": "number: seconds since the epoch",
}
LOGS = {"service": "string", "at": "number?: seconds since the epoch", "line": "string"}
VERSION = {
    "infctl": "string",
    "python": "string",
    "platform": "string",
    "parts": "object: package -> version or null",
}

BY_COMMAND = {
    "init": INIT,
    "profiles": PROFILES,
    "validate": VALIDATE,
    "render": RENDER,
    "diff": DIFF,
    "up": UP,
    "status": STATUS,
    "health": HEALTH,
    "logs": LOGS,
    "restart": RESTART,
    "down": DOWN,
    "version": VERSION,
}


def keys(shape: object) -> object:
    """The bare keys of a shape or of an answer, to compare the two."""
    if isinstance(shape, dict):
        return {key: keys(value) for key, value in shape.items()}
    if isinstance(shape, list):
        return [keys(shape[0])] if shape else []
    return None

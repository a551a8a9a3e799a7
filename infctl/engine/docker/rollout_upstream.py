"""upstream.conf while a gateway is replaced: addresses in the place of the gateway's name. Pure text.

    server inference-gateway:8000 resolve max_fails=0;          as rendered

    server 172.20.0.7:8000 max_fails=0; # while a gateway is replaced
    server inference-gateway:8000 resolve max_fails=0 down; # while a gateway is replaced

The name stays in, `down`: nginx goes on looking it up, and with the rendered line begins with the address it
knows. Without it nginx would begin with none, and answer 502 until Docker has told it one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MARK = " # while a gateway is replaced"
_NAME = re.compile(r"(?m)^(?P<indent> *)server (?P<host>[^\s:;]+):(?P<port>\d+) resolve(?P<rest>[^;\n]*);$")


def is_pointed(text: str) -> bool:
    return MARK in text


def pointed(text: str, addresses: Sequence[str]) -> str:
    """`addresses`: of the gateways to be used. Raises ValueError where the file is none of ours."""
    text = rendered(text)
    found = _NAME.search(text)
    if found is None:
        raise ValueError("no line `server NAME:PORT resolve ...;`")
    indent, port = found["indent"], found["port"]
    lines = [f"{indent}server {address}:{port} max_fails=0;{MARK}" for address in addresses]
    lines.append(f"{found[0][:-1]} down;{MARK}")
    return text[: found.start()] + "\n".join(lines) + text[found.end() :]


def rendered(text: str) -> str:
    """The text it was made from."""
    if not is_pointed(text):
        return text
    kept = []
    for line in text.splitlines(keepends=True):
        if not line.rstrip("\n").endswith(MARK):
            kept.append(line)
        elif " resolve" in line:
            kept.append(line.replace(f" down;{MARK}", ";"))
    return "".join(kept)

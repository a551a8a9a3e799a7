"""supervisor.json: the whole stack as readable data, with the digests of what was rendered with it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from infctl.files import stamp
from infctl.render.files import RenderedFile, header
from infctl.stack import Layout, Stack


def render(stack: Stack, layout: Layout, others: Iterable[RenderedFile]) -> RenderedFile:
    """`.env` and certificates get no digest here: one of a short secret would give it away."""
    texts = {str(layout.rendered / file.path): file.text for file in others}
    about = header(
        stack.name,
        "Everything that runs: what the supervisor starts, with which arguments, environment and files.",
        "secret_env names variables; their values are given to a process when it starts.",
    )
    data = {"about": list(about), **asdict(stamp(stack, texts))}
    del data["projects"]  # of containers, which no supervisor starts
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    return RenderedFile("supervisor.json", text, note="for reading: the engine keeps its own books")

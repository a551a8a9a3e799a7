"""docs/cli.md, from what the commands say of themselves. `python -m infctl.cli.reference > docs/cli.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

_WIDTH = 100
_HEAD = """\
# The command line

Written by `python -m infctl.cli.reference`; a test fails when it is behind.

Facts go to stdout, talk and errors to stderr. `--json` makes both JSON. `NO_COLOR` and a stdout that is no
terminal make it plain; colour never says anything that the words do not.

| exit code | what |
|---|---|
| 0 | done |
| 1 | a negative verdict (`health`, `size`, `bench compare`: worse) |
| 2 | changes are pending (`diff --detailed-exitcode`); runs that cannot be compared |
| 3 | the profile, its variables or secrets |
| 4 | the plan: it does not fit |
| 5 | the engine: Docker, a process, a port, a file |
| 6 | the gateway or its control plane |
| 7 | somebody else is changing this platform |
| 8 | `doctor` found a failure |
| 9 | `bench`: nothing could be measured, or what was measured is not the server |
| 64 | the command line |
| 70 | a fault of infctl; a report is written |
| 130 | interrupted, by Ctrl-C or by a no |

`exec` ends with the exit code of the command it ran.

| variable | what |
|---|---|
| `INFCTL_PROFILE` | the profile where `-f` is left out; several are joined as in `PATH` |
| `DOCKER_HOST`, `DOCKER_CONTEXT` | which Docker engine runs the containers, as for the docker command |
| `INFCTL_DEBUG` | a traceback for a fault of infctl |
| `NO_COLOR`, `FORCE_COLOR` | without and with colour, whatever stdout is |

Completion: `infctl --install-completion` (bash, zsh, fish), then `infctl logs <Tab>` completes services,
`infctl scale <Tab>` models.
"""


def text() -> str:
    """The whole page."""
    from infctl.cli import shapes

    parts = [_HEAD]
    for path, page in _pages():
        parts.append(f"## {path}\n\n```text\n{page.strip()}\n```\n")
        shape = shapes.BY_COMMAND.get(path.removeprefix("infctl "))
        if shape is not None:
            each = " (an object a line)" if path == "infctl logs" else ""
            told = json.dumps(shape, indent=2, ensure_ascii=False)
            parts.append(f"`--json`{each}:\n\n```json\n{told}\n```\n")
        for option, other in shapes.VARIANTS.get(path.removeprefix("infctl "), {}).items():
            told = json.dumps(other, indent=2, ensure_ascii=False)
            parts.append(f"`{option} --json`:\n\n```json\n{told}\n```\n")
    parts.append(f"## Errors with --json\n\n```json\n{json.dumps(shapes.ERROR, indent=2)}\n```\n")
    return "\n".join(parts)


def _pages() -> Iterator[tuple[str, str]]:
    from typer.main import get_command

    from infctl.cli.app import app

    root: Any = get_command(app)
    yield from _walk(root, "infctl", None)


def _walk(command: Any, path: str, parent: Any) -> Iterator[tuple[str, str]]:
    context = command.context_class(
        command, info_name=path.rpartition(" ")[2], parent=parent, max_content_width=_WIDTH
    )
    context.terminal_width = _WIDTH
    yield path, command.get_help(context)
    for name, child in getattr(command, "commands", {}).items():
        yield from _walk(child, f"{path} {name}", context)


if __name__ == "__main__":
    sys.stdout.write(text())

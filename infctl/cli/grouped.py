"""Options that come in groups: a parameter whose type is a dataclass stands for one option of each field.

    @app.command()
    @grouped
    def run(model: Model, *, at: At, json_output: Json = False) -> int: ...

What several commands share is then written once, and handed on as one value.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

_Answer = TypeVar("_Answer")


def grouped(command: Callable[..., _Answer]) -> Callable[..., _Answer]:
    """The same command, as Typer reads it. A field needs a default and Annotated[..., typer.Option()]."""
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type, list[str]]] = {}
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if not is_dataclass(kind):
            parameters.append(parameter.replace(annotation=kind))
            continue
        inner = get_type_hints(kind, include_extras=True)
        names = [field.name for field in fields(kind)]
        groups[parameter.name] = (kind, names)  # type: ignore[assignment]
        parameters += [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=inner[field.name],
            )
            for field in fields(kind)
        ]

    @functools.wraps(command)
    def called(**given: Any) -> _Answer:
        made = {
            group: kind(**{name: given.pop(name) for name in names})
            for group, (kind, names) in groups.items()
        }
        return command(**given, **made)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called

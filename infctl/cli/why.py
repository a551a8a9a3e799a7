"""`infctl why`: the whole story of one of the last calls. JSON: shapes.WHY."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json

_NEVER = "never sent: no backend has seen it"
_OUTCOMES = {
    "ok": "answered",
    "refused": "refused by the gateway",
    "rejected": "rejected by the model's server",
    "upstream_error": "the backend failed",
    "upstream_truncated": "the backend broke off its answer",
    "upstream_timeout": "the backend did not answer in time",
    "client_gone": "the client left before the end",
    "cut": "cut off when the gateway stopped",
    "failed": "the gateway itself failed",
}


def why(
    request: Annotated[
        str, typer.Argument(metavar="REQUEST_ID", help="The x-request-id of an answer, or the client's own")
    ],
    *,
    files: Files = None,
    json_output: Json = False,
) -> None:
    """Tell the story of a call: whose it was, what of its limits was left, how long it waited, which backends
    there were and which was chosen, what it cost.

    The gateway remembers the last 500 calls of each of its workers. What is older is in the log and in the
    audit trail, a line each: infctl audit search --id REQUEST_ID.

    \b
    Examples:
      infctl why req_01a21be6bd754ff430e5ba088b41
      infctl why req_01a21be6bd754ff430e5ba088b41 --json | jq .attempts
    """
    from urllib.parse import quote

    from infctl.cli.control import control

    with control(files) as api:
        story = api.admin("GET", f"/admin/requests/{quote(request, safe='')}")
    if json_output:
        console.data(story)
        return
    for line in lines(story):
        console.fact(line)


def lines(story: dict[str, Any]) -> Iterator[str]:
    """For a person; one subject a line."""
    call = story["request"]
    yield f"{call['request_id']}  {call['method']} {call['path']}  {call['ts']}"
    if call.get("client_request_id"):
        yield _row("client's id", call["client_request_id"])
    outcome = _OUTCOMES.get(call["outcome"], call["outcome"])
    reason = f" ({call['reason']})" if call["reason"] else ""
    yield _row("outcome", f"{call['status']} · {outcome}{reason}")
    if story["message"]:
        yield _row("message", story["message"])
    key = f" · key {call['key_id']}" if call.get("key_id") else ""
    yield _row("tenant", f"{call['tenant']}{key}")
    if call.get("model"):
        cached = f" · cache: {call['cache']}" if call.get("cache") else ""
        yield _row("model", f"{call['model']}{' · stream' if call['stream'] else ''}{cached}")
    yield _row("times", _times(call))
    yield _row("tokens", _tokens(call, story["tokens"]))
    for number, limit in enumerate(story["limits"]):
        yield _row("" if number else "limits", _limit(limit))
    if not story["attempts"]:
        yield _row("backends", _NEVER if call.get("cache") != "hit" else "none was asked: it was kept")
    for number, attempt in enumerate(story["attempts"], 1):
        yield from _attempt(number, attempt)


def _row(name: str, text: str) -> str:
    return f"  {name:<12} {text}"


def _times(call: dict[str, Any]) -> str:
    first = "" if call["ttft_ms"] is None else f"first token after {_ms(call['ttft_ms'])}, "
    return f"waited {_ms(call['queue_ms'])} for a place, {first}{_ms(call['total_ms'])} in all"


def _ms(value: float) -> str:
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.1f} ms"


def _tokens(call: dict[str, Any], tokens: dict[str, Any]) -> str:
    used = "usage not known"
    if call["prompt_tokens"] is not None:
        used = f"prompt {call['prompt_tokens']:,} + answer {call['completion_tokens'] or 0:,}"
    if tokens["counted"] is None:
        price = "nothing counted"
    elif tokens["unknown"]:
        price = f"{tokens['counted']:,} counted: as reserved, because nobody knows"
    else:
        price = f"{tokens['counted']:,} counted"
    reserved = f" · {tokens['reserved']:,} reserved" if tokens["reserved"] else ""
    return f"{used}{reserved} · {price}"


def _limit(limit: dict[str, Any]) -> str:
    return f"{limit['code']:<20} {limit['left']:,} of {limit['limit']:,} left  ({limit['of']})"


def _attempt(number: int, attempt: dict[str, Any]) -> Iterator[str]:
    how = f"failed: {attempt['failed']}" if attempt["failed"] else "its answer counts"
    yield _row(f"attempt {number}", f"{attempt['backend']} after {_ms(attempt['at_ms'])} · {how}")
    for each in attempt["candidates"]:
        mark = "->" if each["chosen"] else "  "
        room = "" if each["capacity"] is None else f"/{each['capacity']}"
        yield _row("", f"{mark} {each['backend']}  {each['in_flight']}{room} in flight · {each['state']}"
                       f" · breaker {each['breaker']}")  # fmt: skip

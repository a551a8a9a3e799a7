"""What a call has cost its tenant, by how it ended. Pure.

how it ended                                              counted
usage was read, whole answer or broken off                that: the last one in the bytes read
an answer of the cache                                    a request, no tokens
refused here, or no backend was reached                   nothing: it has taken nothing
the backend answered with an error, or gave no answer     a request, no tokens: our fault, not the tenant's
the client left, or its own time was over, or an          all that was reserved, marked as unknown: a
answer broke off or came without usage                  backend may have computed as much
"""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.usage import Usage


class Cost(msgspec.Struct, frozen=True):
    prompt: int = 0
    completion: int = 0
    unknown: bool = False


_FREE: Final = Cost()
_UNKNOWN: Final = Cost(unknown=True)
_UNREACHED: Final = "upstream_connect"
"""The reason where no attempt has reached a backend."""


def cost(
    *, attempts: int, cached: bool, outcome: str, reason: str, usage: Usage | None, late: bool
) -> Cost | None:
    """Of a call with a ticket. None: nothing. `outcome`, `reason`: of its log line."""
    if usage is not None:
        return Cost(usage.prompt_tokens, usage.completion_tokens or 0)
    if cached:
        return _FREE
    if not attempts or outcome == "refused" or reason == _UNREACHED:
        return None
    if outcome in {"ok", "client_gone", "cut", "failed", "upstream_truncated"} or late:
        return _UNKNOWN
    return _FREE

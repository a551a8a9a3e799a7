"""What nginx answers by itself, in the OpenAI API's shape: {"error": {message, type, param, code}}. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorPage:
    caught: str
    """The statuses nginx has for it; 494 to 497 are its own."""
    status: int
    """What the client gets."""
    body: str
    """JSON, without a single quote, $ or backslash: it stands between single quotes."""
    retry_after_s: int | None = None


_PAGES = (
    # caught, status, type, code, message, Retry-After
    ("400", 400, "invalid_request_error", "invalid_request", "The request is not valid HTTP.", None),
    ("404", 404, "invalid_request_error", "not_found", "There is nothing here; see /docs.", None),
    ("405", 405, "invalid_request_error", "method_not_allowed", "This method is not served.", None),
    ("408", 408, "invalid_request_error", "request_timeout", "The request took too long to arrive.", None),
    ("413", 413, "invalid_request_error", "body_too_large", "The body is too large for this server.", None),
    ("414", 414, "invalid_request_error", "uri_too_long", "The request line is too long.", None),
    ("431 494", 431, "invalid_request_error", "headers_too_large", "The headers are too large.", None),
    ("497", 400, "invalid_request_error", "https_required", "This port speaks HTTPS: use https://.", None),
    ("500", 500, "upstream_error", "internal", "The edge met an error of its own.", None),
    ("502", 502, "upstream_error", "gateway_unreachable", "The gateway does not answer. Try again soon.", 5),
    ("503", 503, "overloaded", "overloaded", "The edge has no room for this request. Try again soon.", 5),
    ("504", 504, "upstream_error", "upstream_timeout", "The gateway did not answer in time.", None),
)  # fmt: skip


def error_pages() -> tuple[ErrorPage, ...]:
    return tuple(
        ErrorPage(
            caught,
            status,
            json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}),
            retry_after,
        )
        for caught, status, kind, code, message, retry_after in _PAGES
    )

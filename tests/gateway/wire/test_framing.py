"""What goes out, byte by byte."""

from __future__ import annotations

import json

import pytest

from gateway.wire import framing


def test_status_lines_are_ready_for_known_codes_and_made_for_others() -> None:
    assert framing.status_line(429) == b"HTTP/1.1 429 Too Many Requests\r\n"
    assert framing.status_line(499) == b"HTTP/1.1 499 Status\r\n"


def test_a_chunk_says_its_size_in_hex() -> None:
    assert framing.chunk(b"a" * 26) == b"1a\r\n" + b"a" * 26 + b"\r\n"


def test_an_error_has_the_openai_shape() -> None:
    body = json.loads(
        framing.error_body("No such model.", "invalid_request_error", "model_not_found", "model")
    )
    assert body == {
        "error": {
            "message": "No such model.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }


def test_an_error_survives_any_text() -> None:
    text = 'a "quote", a \\ and a line\nbreak, \u00e4\u4e2d\U0001f600'
    assert json.loads(framing.error_body(text, "t", "c"))["error"]["message"] == text


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (429, "rate_limit_exceeded"),
        (503, "overloaded"),
        (500, "server_error"),
    ],
)
def test_an_errors_type_is_its_class(status: int, kind: str) -> None:
    assert framing.error_type(status) == kind


def test_the_date_is_in_the_form_http_asks_for() -> None:
    assert framing.date_line(784111777) == b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

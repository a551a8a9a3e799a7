"""Refusal: an answer of ours in place of a backend's. `serve` writes it down in the OpenAI shape."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault of ours
    """`message` says what to do; `param` is the field it is about; `headers` are ready lines.

    `type` is the error's class, where the status alone does not say it.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: bytes = b"",
        type: str | None = None,  # noqa: A002 - as the API calls it
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = headers
        self.type = type

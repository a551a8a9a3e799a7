"""Refused: this is not the HTTP we serve, and the answer that says so."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault of ours
    """A request that is answered with an error and nothing else. `close`: the connection ends with it."""

    def __init__(self, status: int, code: str, message: str, *, close: bool = True) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.close = close

    def __repr__(self) -> str:
        return f"Refused({self.status}, {self.code!r}, {self.message!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Refused) and (self.status, self.code) == (other.status, other.code)

    def __hash__(self) -> int:
        return hash((self.status, self.code))

"""The value every check gives."""

from typing import NamedTuple


class Finding(NamedTuple):
    path: str
    message: str
    hint: str

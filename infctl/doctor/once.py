"""Something that is looked for once, by whoever needs it first; the others wait for that one look."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from infctl.errors import InfctlError

T = TypeVar("T")


class Once(Generic[T]):
    """`Once(look)()` is `look()`, however often it is called and from however many threads."""

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._found: list[T] = []
        self._refused: InfctlError | None = None

    def __call__(self) -> T:
        """Raises the InfctlError that the one look raised."""
        with self._lock:
            if self._refused is None and not self._found:
                try:
                    self._found.append(self._look())
                except InfctlError as error:
                    self._refused = error
        if self._refused is not None:
            raise self._refused
        return self._found[0]

    def found(self) -> T | None:
        """Without looking; None: nobody has looked, or there was nothing."""
        with self._lock:
            return self._found[0] if self._found else None

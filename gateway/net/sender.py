"""Bytes to a socket in the moment they are said, not at the end of the event loop's round.

uvloop gathers what is written and sends it when everything that was due has run: for an answer that is after
its metrics and its log line were made. Here it leaves first; what the socket does not take goes through the
transport, with its buffer and its flow control.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

_write: Final = os.write


class Sender:
    """What both kinds of connection are, so that a piece on its way touches one object less."""

    __slots__ = ("_fd", "_late", "_transport")

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._fd = -1
        self._late = False
        """Something was left to the transport, and may wait there still."""

    def opened(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        socket = transport.get_extra_info("socket")
        if sys.platform == "linux" and socket is not None:
            self._fd = socket.fileno()

    def write(self, data: bytes) -> None:
        fd = self._fd
        if fd >= 0 and not (self._late and self._waits()):
            try:
                sent = _write(fd, data)
            except OSError:  # full, or broken: the transport will find out, and tell
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        self._late = True
        self._transport.write(data)

    def shut(self) -> None:
        """From now on it is for the transport to say what becomes of it.

        Said before it is closed or aborted, and when it has ended: the file's number may soon be another
        connection's.
        """
        self._fd = -1

    def _waits(self) -> bool:
        self._late = self._transport.get_write_buffer_size() > 0
        return self._late

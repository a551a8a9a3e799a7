"""Bytes to a socket in the moment they are said, not at the end of the event loop's round.

uvloop gathers what is written and sends it when everything that was due has run: for an answer that is after
its metrics and its log line were made. Here it leaves first; what the socket does not take goes through the
transport, with its buffer and its flow control.
"""

from __future__ import annotations

import asyncio
import os
import sys


class Sender:
    """Of one transport. `close` before the transport's file is closed: in `connection_lost`."""

    __slots__ = ("_fd", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._fd = -1
        socket = transport.get_extra_info("socket")
        if sys.platform == "linux" and socket is not None:
            self._fd = socket.fileno()

    def __call__(self, data: bytes) -> None:
        transport = self._transport
        if self._fd >= 0 and not transport.get_write_buffer_size() and not transport.is_closing():
            try:
                sent = os.write(self._fd, data)
            except OSError:  # full, or broken: the transport will find out, and tell
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        transport.write(data)

    def close(self) -> None:
        """The file's number may soon be another connection's."""
        self._fd = -1

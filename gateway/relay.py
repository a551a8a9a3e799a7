"""While a reply is forwarded: pieces in, bytes for the client out, usage kept. Sans-I/O."""

from __future__ import annotations

from typing import Final, Literal

import orjson

from gateway import sse
from gateway.asked import Call
from gateway.usage import Usage, ends_with_usage, usage_in, without_usage

TAIL_BYTES: Final = 4096
"""Of a plain reply, kept to find the usage in."""

_LAST: Final = (b"response.completed", b"response.incomplete", b"response.failed", b'"error"')

_USAGE: Final = b',"usage":{'
"""As vLLM writes it. Inside a string each quote has a backslash before it, so no text can look like this."""
_NO_CHOICE: Final = b'"choices":[]'

Ending = Literal["open", "done", "error", "broken"]


class BrokenStream(Exception):  # noqa: N818 - what the backend did
    """The backend's stream says something that no stream of this API says."""


class Plain:
    """A reply that is passed on as it is."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, piece: bytes) -> bytes:
        self._tail = piece if len(piece) >= TAIL_BYTES else (self._tail + piece)[-TAIL_BYTES:]
        return piece

    def finish(self) -> bytes:
        return b""

    @property
    def usage(self) -> Usage | None:
        return usage_in(self._tail)


class Stream:
    """Events pass byte by byte; what the gateway asked for and the client did not is taken out again.

    `ending`: "done" once `[DONE]` came, "error" once the backend reported one in the stream, "broken" once
    it said what no stream of this API says. What follows is dropped: no `[DONE]` makes an error look like
    an end.
    """

    def __init__(self, call: Call) -> None:
        self.events = 0
        """With data, so far."""
        self.open = True
        """There is no ending yet."""
        self._between = True
        """The next byte begins an event."""
        self._as_asked = call.wants_running_usage
        """Usage stays in each piece: the client asked for that too."""
        self._responses = call.path == b"/v1/responses"
        self._last: bytes | None = None
        """The last piece with usage in it; read at the end only."""
        self._splitter = sse.Splitter()
        self._call = call
        self._why = ""
        self.ending: Ending = "open"

    def feed(self, piece: bytes) -> bytes:
        """What is good of it, up to the first thing that is not."""
        if self._between and self.open:
            out = self._usual(piece)
            if out:
                return out
        try:
            events = self._splitter.feed(piece)
        except sse.TooLong as long:
            return self._break(str(long))
        self._between = self._splitter.between
        if len(events) == 1:
            return self._event(events[0])
        return b"".join([(self.open and self._usual(event)) or self._event(event) for event in events])

    def _usual(self, event: bytes) -> bytes:
        """What is good of an event as nearly all are; nothing: it is for `_event` to look at."""
        if not _is_object(event):
            return b""
        at = event.rfind(_USAGE)
        if at < 0:
            if event.find(b'"usage"') >= 0:
                return b""
        elif self._responses or not _ends_with_it(event, at):
            return b""
        else:
            self._last = event
            if not self._as_asked:
                event = b"%b}\n\n" % event[:at]
        self.events += 1
        return event

    def finish(self) -> bytes:
        """At the clean end, or once `ending` is "broken". Raises BrokenStream."""
        if self.open:
            self._break("it ended before the last event")
        if self.ending == "broken":
            raise BrokenStream(self._why)
        return b""

    @property
    def usage(self) -> Usage | None:
        return None if self._last is None else usage_in(self._last)

    def _break(self, why: str) -> bytes:
        self._end("broken")
        self._why = why
        return b""

    def _end(self, ending: Ending) -> None:
        self.ending, self.open = ending, False

    def _event(self, event: bytes) -> bytes:
        if not self.open:
            return b""
        data = sse.data_of(event)
        if data is None:
            return event
        if data == sse.DONE:
            self._end("done")
            return event
        self.events += 1
        if data[:1] != b"{" or data[-1:] != b"}":
            return self._break("an event is not a JSON object")
        if data.find(b'"error"') >= 0 and _is_error(data):
            self._end("error")
            return event
        if self._responses:
            return self._response_event(event, data)
        return self._chat_event(event, data) if data.find(b'"usage"') >= 0 else event

    def _chat_event(self, event: bytes, data: bytes) -> bytes:
        """With usage in it, that the client may not have asked for."""
        self._last = data
        if self._call.wants_running_usage:
            return event
        if ends_with_usage(data):
            return event if self._call.wants_usage else b""
        stripped = without_usage(data)
        if event.count(data) == 1:
            return event.replace(data, stripped)
        return b"data: %b\n\n" % stripped  # data on several lines

    def _response_event(self, event: bytes, data: bytes) -> bytes:
        """Of /v1/responses, which ends with an event of its own kind, with the usage, not with `[DONE]`."""
        if any(data.find(last) >= 0 for last in _LAST):
            kind = _type_of(data)
            if kind in {"response.completed", "response.incomplete"}:
                self._end("done")
                self._last = data
            elif kind in {"response.failed", "error"}:
                self._end("error")
                self._last = data
        return event


def _type_of(data: bytes) -> object:
    try:
        return orjson.loads(data).get("type")
    except orjson.JSONDecodeError:
        return None


# `find`, not `in`: that takes what it is asked for a number first, and makes an error of it each time.


def _is_object(event: bytes) -> bool:
    """Of one line, an object and no error."""
    return (
        event.startswith(b"data: {")
        and event.endswith(b"}\n\n")
        and event.find(b"\n") == len(event) - 2
        and event.find(b"\r") < 0
        and event.find(b'"error"') < 0
    )


def _ends_with_it(event: bytes, at: int) -> bool:
    """The usage at `at` is the object's last field, holds no object itself, and comes with a choice."""
    return (
        event.find(b"}", at) == len(event) - 4 and event.rfind(b"{") == at + 9 and event.find(_NO_CHOICE) < 0
    )


def _is_error(data: bytes) -> bool:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and bool(value.get("error"))

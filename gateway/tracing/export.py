"""Spans on their way to a collector: OTLP over HTTP, by OpenTelemetry's own exporter, in a thread.

`put` costs the loop an append. What the queue has no room for, and what the collector does not take in time,
is lost and counted; a request never waits for it and never fails by it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from gateway.trace import Finished
from gateway.tracing.spans import Span, spans

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

QUEUE_MAX: Final = 2_000
"""Requests that wait to be sent: about 4 MB."""
BATCH_MAX: Final = 200
"""Requests sent together."""
BATCH_S: Final = 1.0
SEND_S: Final = 5.0
"""For a batch, with all tries; then it is lost."""
CLOSE_S: Final = 2.0
PATH: Final = "/v1/traces"
MISSING: Final = (
    "tracing.endpoint is set, and OpenTelemetry is not installed: no traces are sent."
    " pip install 'infctl[tracing]'"
)

Send = Callable[[Sequence[Span]], bool]
"""False, or an exception: they are lost."""


class Exporter:
    """Of one process."""

    def __init__(self, send: Send, on_trouble: Callable[[str], None], *, batch_s: float = BATCH_S) -> None:
        """`on_trouble`: told once when the collector stops to take spans, and "" when it does again."""
        self._send = send
        self._on_trouble = on_trouble
        self._batch_s = batch_s
        self._queue: deque[Finished] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._troubled = False
        self.exported = 0
        """Spans that were taken."""
        self._refused = 0
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Spans."""
        return self._refused + self._dropped

    def put(self, finished: Finished) -> None:
        """Never waits."""
        if len(self._queue) >= QUEUE_MAX:
            self._dropped += finished.trace.spans
            return
        self._queue.append(finished)
        if len(self._queue) >= BATCH_MAX and not self._wake.is_set():
            self._wake.set()

    def close(self, limit_s: float = CLOSE_S) -> None:
        """Sends what is left, for at most so long."""
        self._closing = True
        self._wake.set()
        self._thread.join(limit_s)
        self._dropped += sum(each.trace.spans for each in tuple(self._queue))

    def _run(self) -> None:
        while True:
            self._wake.wait(self._batch_s)
            self._wake.clear()
            last = self._closing
            while self._queue and not (last and self._troubled):
                self._flush()
            if last:
                return

    def _flush(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_MAX))]
        made = [span for each in batch for span in spans(each)]
        why = ""
        try:
            taken = self._send(made)
        except Exception as error:  # noqa: BLE001 - whatever it is: the spans are lost, and the thread goes on
            taken, why = False, repr(error)
        if taken:
            self.exported += len(made)
        else:
            self._refused += len(made)
        if taken is self._troubled:
            self._troubled = not taken
            self._on_trouble("" if taken else why or "the collector did not take them in time")


def batch_s(env: Mapping[str, str]) -> float:
    """Between two batches: BATCH_S, or what OpenTelemetry's own variable says, in milliseconds."""
    text = env.get("OTEL_BSP_SCHEDULE_DELAY", "")
    return int(text) / 1000 if text.isdecimal() and 0 < int(text) <= 60_000 else BATCH_S


def otlp(endpoint: str, headers: dict[str, str], facts: dict[str, str]) -> Send:
    """To a collector. `facts`: of this process. Raises ImportError: the extra `tracing` is not installed."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - see above
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415

    logger = logging.getLogger("opentelemetry")
    logger.propagate = False  # it would write to stderr; our own log says what matters of it
    logger.addHandler(logging.NullHandler())
    base = endpoint.rstrip("/")
    url = base if base.endswith(PATH) else base + PATH
    exporter = OTLPSpanExporter(endpoint=url, headers=headers or None, timeout=SEND_S)
    make = _maker(Resource.create(facts))

    def send(made: Sequence[Span]) -> bool:
        return exporter.export([make(each) for each in made]) is SpanExportResult.SUCCESS

    return send


def _maker(resource: Any) -> Callable[[Span], ReadableSpan]:
    from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415 - only who exports has it
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags  # noqa: PLC0415

    kinds = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
    scope, sampled = InstrumentationScope("infctl.gateway"), TraceFlags(TraceFlags.SAMPLED)

    def context(trace_id: str, span_id: str, *, remote: bool = False) -> SpanContext:
        return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=remote, trace_flags=sampled)

    def make(span: Span) -> ReadableSpan:
        parent = span.parent_id and context(span.trace_id, span.parent_id, remote=span.role == "server")
        return ReadableSpan(
            span.name,
            context=context(span.trace_id, span.span_id),
            parent=parent or None,
            resource=resource,
            attributes=span.attributes,
            kind=kinds[span.role],
            status=Status(StatusCode.ERROR, span.why or None) if span.failed else Status(StatusCode.UNSET),
            start_time=span.began_ns,
            end_time=span.ended_ns,
            instrumentation_scope=scope,
        )

    return make

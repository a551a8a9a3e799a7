"""The queue of spans: bounded, counted, never in anybody's way."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from gateway.trace import Attempt, Finished, Trace
from gateway.tracing import export
from gateway.tracing.export import Exporter
from gateway.tracing.spans import Span, spans
from tests.gateway.process import until


def ended(*attempts: Attempt, **facts: object) -> Finished:
    trace = Trace("1" * 32, None)
    trace.attempts = list(attempts)
    known: dict[str, object] = {
        "trace": trace, "wall_ns": 10**18, "at": 100.0, "began_at": 99.0, "first_at": None, "method": "POST",
        "path": "/v1/embeddings", "request_id": "req_1", "status": 200, "outcome": "ok", "reason": "",
        "stream": False, "tenant": None, "model": "embed", "backend": "b0", "cache": None, "tokens": None,
    }  # fmt: skip
    return Finished(**{**known, **facts})  # type: ignore[arg-type]


def test_what_has_no_room_is_lost_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "QUEUE_MAX", 5)
    monkeypatch.setattr(export, "BATCH_MAX", 2)
    go, sent = threading.Event(), 0

    def send(made: Sequence[Span]) -> bool:
        nonlocal sent
        go.wait(10)
        sent += len(made)
        return True

    exporter = Exporter(send, lambda _: None, batch_s=0.01)
    for _ in range(2):
        exporter.put(ended())
    until(lambda: not exporter._queue)  # in the thread's hands
    for _ in range(8):
        exporter.put(ended(Attempt("a" * 16, "b0", "h", 1, 99.5)))
    assert exporter.lost == 3 * 2
    go.set()
    exporter.close()
    assert (exporter.exported, sent, exporter.lost) == (2 + 5 * 2, 12, 6)


def test_an_exporter_that_fails_is_told_once_and_goes_on() -> None:
    works, told = False, []

    def send(_: Sequence[Span]) -> bool:
        if not works:
            raise RuntimeError("no way")
        return True

    exporter = Exporter(send, told.append, batch_s=0.01)
    for _ in range(3):
        exporter.put(ended())
        until(lambda: not exporter._queue)
    until(lambda: exporter.lost == 3)
    works = True
    exporter.put(ended())
    until(lambda: exporter.exported == 1)
    exporter.close()
    assert told == ["RuntimeError('no way')", ""]


def test_who_stops_does_not_wait_for_a_collector_that_is_away() -> None:
    exporter = Exporter(lambda _: False, lambda _: None, batch_s=60)
    for _ in range(export.BATCH_MAX - 1):
        exporter.put(ended())
    exporter.close()
    assert exporter.lost == export.BATCH_MAX - 1


def test_a_client_that_leaves_is_no_fault_of_the_attempt() -> None:
    gone = ended(Attempt("a" * 16, "b0", "h", 1, 99.5), outcome="client_gone", reason="closed", status=499)
    server, attempt = spans(gone)
    assert (server.failed, attempt.failed) == (False, False)
    assert server.attributes["error.type"] == attempt.attributes["error.type"] == "closed"
    assert (server.ended_ns - server.began_ns, attempt.ended_ns - attempt.began_ns) == (10**9, 5 * 10**8)


def test_the_attempt_that_counted_fails_with_its_request() -> None:
    first = Attempt("a" * 16, "b0", "h", 1, 99.1, 99.2, 503, "upstream_503")
    second = Attempt("b" * 16, "b1", "h", 1, 99.5, status=200)
    cut = ended(first, second, outcome="upstream_truncated", reason="upstream_error", status=200)
    server, one, two = spans(cut)
    assert (server.failed, one.failed, two.failed) == (True, True, True)
    assert [each.why for each in (one, two)] == ["upstream_503", "upstream_error"]
    assert two.parent_id == server.span_id

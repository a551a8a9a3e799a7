"""Engines' and GPUs' figures to be scraped: what vLLM 0.32 and DCGM's exporter tell, served on loopback.

Of vLLM each series that its own code makes and a rule or panel asks for; of DCGM what was recorded of real
cards (tests/infctl/monitoring/recorded.py). `stalled`: calls, and not one token.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from infctl.monitoring.alerts import alerts
from infctl.monitoring.names import family, metrics_of
from infctl.monitoring.recordings import recordings
from infctl.monitoring.terms import Card, Terms
from tests.infctl.monitoring import published
from tests.infctl.monitoring.queries import panels
from tests.infctl.monitoring.recorded import AT_WORK, ENERGY, LABELS, POWER

LEVELS = {
    "vllm:num_requests_running": 2,
    "vllm:num_requests_waiting": 0,
    "vllm:num_requests_waiting_by_reason": 0,
    "vllm:kv_cache_usage_perc": 0.4,
}
STILL = frozenset({"vllm:num_preemptions_total", "vllm:admission_rejections_total"})
MORE = {
    "vllm:request_success_total": 'finished_reason="stop"',
    "vllm:num_requests_waiting_by_reason": 'reason="capacity"',
    "vllm:admission_rejections_total": 'reason="max_num_queued_reqs"',
}


class Figures:
    """One /metrics on loopback. `down`: nobody answers there."""

    def __init__(self, names: frozenset[str] = frozenset(), cards: tuple[Card, ...] = ()) -> None:
        self.stalled = self.down = False
        self._names, self._cards = names, cards
        self._began = time.monotonic()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if outer.down:
                    self.connection.close()
                    return
                text = "".join(outer.lines()).encode()
                self.send_response(200)
                self.send_header("content-type", "text/plain; version=0.0.4")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # a Prometheus that is being stopped
                    self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self._last = 0.0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def lines(self) -> Iterator[str]:
        if not self.stalled:
            self._last = time.monotonic() - self._began
        done = int(20 * self._last)
        yield f"process_start_time_seconds {1_700_000_000}\n"
        for name in sorted(self._names):
            labels = ",".join(filter(None, ['model_name="m",engine="0"', MORE.get(name, "")]))
            yield from _series(name, labels, done)
        for card in self._cards:
            gpu = card.index
            bus = f"00000000:{49 + gpu:02X}:00.0"
            told = (gpu, f"GPU-{gpu}", bus, f"nvidia{gpu}", "Tesla T4", "h", "590.48.01")
            labels = ",".join(f'{name}="{value}"' for name, value in zip(LABELS, told, strict=True))
            joules = AT_WORK[ENERGY] + 1000 * AT_WORK[POWER] * self._last
            for name, value in (AT_WORK | {ENERGY: int(joules)}).items():
                yield f"{name}{{{labels}}} {value}\n"
            yield f'DCGM_EXP_XID_ERRORS_COUNT{{{labels},xid="31",window_size_in_ms="300000"}} 1\n'


def _series(name: str, labels: str, done: int) -> Iterator[str]:
    if name in LEVELS:
        yield f"{name}{{{labels}}} {LEVELS[name]}\n"
    elif name.endswith("_total"):
        yield f"{name}{{{labels}}} {0 if name in STILL else done}\n"
    elif name.endswith("_bucket"):
        bounds = ("0.1", "0.5", "1.0", "5.0", "512.0", "+Inf")
        for bound in bounds:
            yield f'{name}{{{labels},le="{bound}"}} {done}\n'
    else:
        yield f"{name}{{{labels}}} {done // 10 if name.endswith('_sum') else done}\n"


def of_engines(terms: Terms) -> frozenset[str]:
    """What rules and panels ask of vLLM, and its code makes."""
    asked = metrics_of(
        [each.expr for each in recordings(terms)]
        + [each.expr for each in alerts(terms, gpus_watched=True)]
        + [query.expr for _, panel in panels(terms) for query in panel.queries]
    )
    families = {family(name) for name in asked if name.startswith("vllm:")}
    return frozenset(name for name in published.of_vllm() if name in asked or family(name) in families)

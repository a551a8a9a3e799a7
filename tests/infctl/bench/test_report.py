"""The page of a run: whole, safe, and of nothing but itself."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from infctl.bench import report, results, svg
from infctl.bench.record import Record
from infctl.bench.results import Result
from infctl.bench.server_side import Sample, read
from infctl.bench.verdict import Reason, Verdict
from infctl.errors import BenchError

from . import pages
from .browser import chromium, opened
from .virtual import side

SHOT_BYTES = 20_000
"""A page with plots is a larger picture than an empty one."""
_VOID = {"meta", "polyline", "circle", "path", "br"}


class Checked(HTMLParser):
    """Tags that are opened are closed, and nothing points elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [
            value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "srcset"}
        ]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def run(
    seed: int, *, grade: str = "valid", name: str = "chat", failed: int = 0, **more: object
) -> report.Run:
    made = side(seed, "report", requests=60, failed=failed, model=name, **more)
    found: Result = results.result(
        made.config,
        id=f"run-{seed}",
        url="http://127.0.0.1:8000",
        wall=1_750_000_000,
        took_us=1_000_000,
        ended="complete",
        why="",
        workload_digest="",
        client={},
        found=made.figures,
        verdict=Verdict(grade, (Reason(grade, "cpu", "a <b>reason</b>"),)),
    )
    return report.Run(found, "chat, 4 at once", made.figures, made.records)


def checked(page: str) -> Checked:
    parser = Checked()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_a_page_is_whole_and_points_nowhere() -> None:
    page = report.page([run(1, failed=3), run(2)])
    found = checked(page)
    assert found.links == []
    assert "script" not in found.seen
    assert "url(" not in page
    assert "@import" not in page
    assert found.seen.count("svg") == 8
    assert "Latency against load" in page
    assert "3 truncated" in page


def test_a_browser_draws_it_without_a_message_or_a_request(tmp_path: Path) -> None:
    browser = chromium()
    if browser is None:
        pytest.skip("there is no chromium here: apt-get install chromium")
    found = opened(browser, tmp_path, report.page([run(1, failed=3), run(2, concurrency=8)]))
    assert (found.messages, found.asked) == ((), ())
    assert found.shot_bytes > SHOT_BYTES, found.said


def test_one_run_alone_is_a_point_that_can_be_seen() -> None:
    """A line of one point is drawn as nothing."""
    line = svg.plot("t", "x", "y", [svg.Series("s", [(1.0, 2.0)])])
    assert line.count("<circle") == 1
    many = svg.plot("t", "x", "y", [svg.Series("s", [(at, at) for at in range(100)])])
    assert many.count("<circle") == 0


def test_what_the_engine_did_is_drawn_where_it_was_looked_at() -> None:
    looks = [Sample(at - 1.0, read(pages.vllm(at), "served") or {}) for at in range(8)]
    seen = replace(run(1), servers=["mean TTFT 80 ms: queue <20>"], samples=looks)
    page = report.page([seen])
    assert checked(page).seen.count("svg") == 5
    assert "In the engine" in page
    assert "KV cache in use" in page
    assert "queue &lt;20&gt;" in page
    assert checked(report.page([run(1)])).seen.count("svg") == 3


def test_looks_are_read_back_as_they_were_written_and_a_broken_one_is_told(tmp_path: Path) -> None:
    found, looks = run(1), [Sample(0.5, {"vllm:num_requests_running": 3.0})]
    place = results.save(tmp_path / "bench", found.result, [], looks)
    assert results.samples(place) == looks
    (place / "server.jsonl").write_text("{oops")
    with pytest.raises(BenchError, match="no look at a server"):
        results.samples(place)
    (place / "server.jsonl").unlink()
    assert results.samples(place) == []


def test_nothing_that_a_server_or_a_person_named_becomes_markup() -> None:
    page = report.page([run(1, name="<script>alert(1)</script>")])
    assert "<script" not in page
    assert "a &lt;b&gt;reason&lt;/b&gt;" in page


def test_the_figures_of_an_invalid_run_are_nowhere_on_the_page() -> None:
    page = report.page([run(1, grade="invalid")])
    assert "svg" not in checked(page).seen
    assert "requests/s" not in page.partition("<h2>Definitions")[0]
    assert "not the server" in page


def test_a_distribution_ends_below_100_percent_where_requests_failed() -> None:
    page = report.page([run(1, failed=30)])
    path = re.search(r'<polyline class="s1" points="([^"]+)"', page)
    assert path is not None
    highest = min(float(point.split(",")[1]) for point in path[1].split(" "))
    assert highest == 28 + (300 - 28 - 44) / 2


def test_a_long_series_is_thinned_and_an_empty_one_is_said() -> None:
    many = svg.plot("t", "x", "y", [svg.Series("s", [(at, at) for at in range(100_000)], "points")])
    assert many.count("<circle") == svg.POINTS_MAX
    assert "nothing to draw" in svg.plot("t", "x", "y", [svg.Series("s", [])])


def test_a_result_is_read_back_as_it_was_written() -> None:
    found = run(1).result
    assert msgspec.json.decode(msgspec.json.encode(found), type=Result) == found
    assert Record(index=1, due_us=None, began_us=0, sent_us=None, end_us=1, outcome="ok").ok

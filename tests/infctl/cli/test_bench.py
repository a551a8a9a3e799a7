"""`infctl bench` as a program: exit codes, what is kept, what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import yaml

from infctl.bench import results
from infctl.bench.sampler import Watching
from infctl.bench.search import Found
from infctl.bench.server_side import ENERGY, KV_USE, between
from infctl.bench.sweep import Step
from infctl.cli import app, bench_inside, bench_run, bench_screen, bench_sweep, shapes
from infctl.cli.bench_options import At
from infctl.cli.bench_sweep import Swept
from tests.infctl.bench import pages
from tests.infctl.bench.conftest import Stub

PROFILES = Path(__file__).parents[3] / "profiles"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`infctl bench ARGS` in a folder of its own, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_API_KEY", raising=False)

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        code = app.run(["bench", *args])
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(args, code, out, err)

    return call


def runs(folder: Path) -> list[Path]:
    return sorted((folder / ".infctl" / "bench").iterdir())


def test_a_run_prints_its_verdict_and_keeps_its_log(run: Run, stub: Stub, tmp_path: Path) -> None:
    done = run(
        "run", "steady", "--url", stub.url, "-c", "4", "-n", "40", "--out", "8", "--seed", "5", "--explain"
    )
    assert done.returncode in {0, 9}, done.stderr  # 9: this machine was busy, and the verdict says so
    assert "verdict: " in done.stdout
    if done.returncode == 0:
        assert "40 of 40 requests ok" in done.stdout
        assert "TTFT" in done.stdout
    assert "TPOT: (last piece - first piece) / (tokens out - 1)" in done.stdout
    (place,) = runs(tmp_path)
    log = [json.loads(line) for line in (place / "requests.jsonl").read_text().splitlines()]
    assert len(log) == 48  # four before and four behind those that count
    assert {line["tokens_out"] for line in log} == {8}
    result = json.loads((place / "result.json").read_text())
    assert (result["config"]["seed"], result["ended"]) == (5, "complete")


def test_json_is_as_promised(run: Run, stub: Stub) -> None:
    args = ("run", "fast", "--url", stub.url, "-n", "40", "--out", "8", "--slo", "ttft=5000", "--json")
    told = json.loads(run(*args).stdout)
    assert list(told) == list(shapes.BENCH_RUN)
    figures = told["figures"] or told["untrusted_figures"]
    assert list(figures) == list(shapes.BENCH_RUN["figures"])
    assert figures["good_share"] == 1.0
    assert figures["tokens_out"] == 320
    listed = json.loads(run("list", "--json").stdout)
    assert [list(row) for row in listed["runs"]] == [list(shapes.BENCH_LIST["runs"][0])]


def test_the_same_seed_sends_the_same_bytes(run: Run, own_stub: Stub) -> None:
    for _ in range(2):
        run("run", "fast", "--url", own_stub.url, "-n", "5", "--in", "normal:64,16", "--seed", "11")
    bodies = [entry["body"] for entry in own_stub.log()]
    assert len(bodies) == 14
    assert bodies[:7] == bodies[7:]
    run("run", "fast", "--url", own_stub.url, "-n", "5", "--in", "normal:64,16")
    assert {entry["body"] for entry in own_stub.log()[14:]}.isdisjoint(bodies)


def test_a_run_of_failures_is_never_shown_as_the_servers_figures(run: Run, stub: Stub) -> None:
    done = run("run", "in_band", "--url", stub.url, "-n", "5")
    assert done.returncode == 9
    assert "every request failed" in done.stderr
    assert "TTFT" not in done.stdout
    assert "in_band, 5 times: the engine died" in done.stdout


def test_a_dead_url_a_refused_key_and_a_missing_model_are_told(
    run: Run, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = run("run", "chat", "--url", "http://127.0.0.1:9")
    assert (dead.returncode, "nothing answers at http://127.0.0.1:9" in dead.stderr) == (9, True)
    missing = run("run", "gpt-9", "--url", stub.url)
    assert (missing.returncode, "serves no model gpt-9" in missing.stderr) == (9, True)
    assert "steady" in missing.stderr
    unnamed = run("run", "--url", stub.url)
    assert (unnamed.returncode, "which model" in unnamed.stderr) == (64, True)
    monkeypatch.setenv("GATEWAY_API_KEY", "wrong")
    refused = run("run", "steady", "--url", stub.url)
    assert (refused.returncode, "refuses the key" in refused.stderr) == (9, True)
    assert "GATEWAY_API_KEY" in refused.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--slo", "speed=3"), "there is no metric speed"),
        (("--slo", "ttft=fast"), "no number of milliseconds"),
        (("--in", "zipf:3"), "no distribution of lengths"),
        (("-n", "5", "--duration", "5"), "which ends the run?"),
        (("--warmup", "5s"), "a number of requests"),
        (("--duration", "5", "--warmup", "9s"), "fewer than 5"),
        (("--endpoint", "images"), "chat, completions"),
        (("--rate", "5", "--arrivals", "often"), "poisson"),
        (("--prefix", "many"), "4x512 is four of 512 words"),
        (("--trace", "t", "--rate", "5"), "have no place beside it"),
        (("--endpoint", "rerank", "--turns", "2"), "made-up texts alone"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(
    run: Run, stub: Stub, args: tuple[str, ...], said: str
) -> None:
    done = run("run", "steady", "--url", stub.url, *args)
    assert (done.returncode, said in done.stderr) == (64, True), done.stderr


def test_a_url_that_is_none_is_refused(run: Run) -> None:
    for url in ("localhost:8000", "ftp://host", "http://host:99999"):
        assert run("run", "chat", "--url", url).returncode == 64


def test_a_server_that_dies_leaves_a_result_that_is_marked(run: Run, own_stub: Stub, tmp_path: Path) -> None:
    began = time.monotonic()
    done = run("run", "exit", "--url", own_stub.url, "-c", "2", "--duration", "60", "--out", "4")
    assert time.monotonic() - began < 40
    assert done.returncode == 9
    assert "connections are refused" in done.stderr
    (place,) = runs(tmp_path)
    result = json.loads((place / "result.json").read_text())
    assert (result["ended"], result["verdict"]["grade"]) == ("server_gone", result["verdict"]["grade"])
    log = [json.loads(line) for line in (place / "requests.jsonl").read_text().splitlines()]
    assert sum(line["outcome"] == "ok" for line in log) >= 15
    assert "partial" in done.stdout


def test_ctrl_c_writes_what_was_measured(stub: Stub, tmp_path: Path) -> None:
    args = ("run", "steady", "--url", stub.url, "-c", "2", "--duration", "60", "--out", "4", "--warmup", "0s")
    process = subprocess.Popen(
        [sys.executable, "-m", "infctl", "bench", *args],
        cwd=tmp_path,
        env={**os.environ, "GATEWAY_API_KEY": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    before = len(stub.log())
    deadline = time.monotonic() + 30
    while len(stub.log()) < before + 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "partial: interrupted" in out
    (place,) = runs(tmp_path)
    log = [json.loads(line) for line in (place / "requests.jsonl").read_text().splitlines()]
    result: dict[str, Any] = json.loads((place / "result.json").read_text())
    assert result["ended"] == "interrupted"
    assert sum(line["outcome"] == "ok" for line in log) >= 5
    assert sum(line["outcome"] == "aborted" for line in log) <= 2
    figures = result["figures"] or result["untrusted_figures"]
    assert figures["failed"] == 0
    assert figures["window_s"][1] <= result["took_s"]  # rates are of the time that was measured


@pytest.mark.parametrize("command", ["ab", "sweep"])
def test_ctrl_c_in_the_second_of_several_runs_keeps_the_first(
    command: str, own_stub: Stub, tmp_path: Path
) -> None:
    where = ("--a", own_stub.url, "--b", own_stub.url) if command == "ab" else ("--url", own_stub.url)
    loads = ("-c", "2") if command == "ab" else ("--concurrencies", "2,3,4,5")
    count = ("-n", "20", "--out", "4")
    process = subprocess.Popen(
        [*(sys.executable, "-m", "infctl", "bench", command), "steady", *where, *loads, *count],
        cwd=tmp_path,
        env={**os.environ, "GATEWAY_API_KEY": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while len(own_stub.log()) < 30 and time.monotonic() < deadline:  # 24 are the first run's
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    ended = [json.loads((place / "result.json").read_text())["ended"] for place in runs(tmp_path)]
    assert ended[0] == "complete"
    assert set(ended[1:]) <= {"complete", "interrupted"}


def test_a_newer_result_and_a_broken_one_are_listed_with_the_reason(run: Run, tmp_path: Path) -> None:
    for name, text in (("a", '{"version": 99}'), ("b", "{")):
        place = tmp_path / ".infctl" / "bench" / name
        place.mkdir(parents=True)
        (place / "result.json").write_text(text)
    told = json.loads(run("list", "--json").stdout)["runs"]
    assert "newer infctl" in told[0]["error"]
    assert "is no result" in told[1]["error"]


def test_two_runs_of_one_server_can_be_compared_and_a_slower_one_is_worse(run: Run, stub: Stub) -> None:
    for mode in ("steady", "steady", "bimodal"):
        run("run", mode, "--url", stub.url, "-c", "4", "-n", "60", "--out", "8")
    same = run("compare", "last~2", "last~1", "--margin", "40", "--json")
    told = json.loads(same.stdout)
    if told["verdict"] == "incomparable":
        assert "invalid" in told["reasons"][0]  # this machine was busy, and the runs say so
        return
    assert list(told) == list(shapes.BENCH_COMPARE)
    assert [list(row) for row in told["differences"]] == [list(shapes.BENCH_COMPARE["differences"][0])] * 3
    assert same.returncode == 0
    worse = run("compare", "last~1", "last")
    assert worse.returncode == 1 or "invalid" in worse.stdout, worse.stdout
    assert worse.stdout.startswith(("worse: B is worse than A", "incomparable"))


def test_runs_of_one_second_sort_by_when_they_began() -> None:
    ids = [results.new_id("chat", 1_795_780_800.0 + n / 500) for n in range(500)]
    assert ids == sorted(ids)


def test_runs_of_other_loads_are_not_compared_and_runs_that_are_not_there_are_told(
    run: Run, stub: Stub
) -> None:
    run("run", "fast", "--url", stub.url, "-n", "40", "--out", "8")
    run("run", "fast", "--url", stub.url, "-n", "40", "--out", "9")
    other = run("compare", "last~1", "last")
    assert other.returncode == 2
    assert "other load: lengths_out is 8 in A and 9 in B" in other.stdout
    missing = run("compare", "last", "20990101T000000Z")
    assert (missing.returncode, "there is no run 20990101T000000Z" in missing.stderr) == (9, True)


def test_ab_takes_turns_a_b_b_a_and_keeps_each(run: Run, stub: Stub, own_stub: Stub) -> None:
    args = ("--a", stub.url, "--b", own_stub.url, "-n", "40", "--rounds", "1", "--out", "4", "--seed", "9")
    done = run("ab", "fast", *args)
    assert done.returncode in {0, 1, 2}, done.stderr
    turns = [line.split()[3] for line in done.stderr.splitlines() if " of 2 " in line]
    assert turns == ["A", "B", "B", "A"]
    kept = json.loads(run("list", "--json").stdout)["runs"]
    assert len(kept) == 4
    bodies = [json.loads(entry["body"]) for entry in own_stub.log()]
    assert len({body["messages"][0]["content"] for body in bodies}) == 84


def test_the_keys_of_vllm_bench_serve(run: Run, stub: Stub) -> None:
    args = (
        "run",
        "fast",
        "--url",
        stub.url,
        "-n",
        "35",
        "--out",
        "8",
        "--slo",
        "ttft=5000",
        "--format",
        "vllm",
    )
    told = json.loads(run(*args).stdout)
    assert (told["completed"], told["failed"], told["total_output_tokens"]) == (35, 0, 280)
    assert told["request_goodput"] == told["request_throughput"]
    assert {"mean_ttft_ms", "p99_tpot_ms", "median_itl_ms", "std_e2el_ms", "itls", "start_times"} <= set(told)
    assert run("run", "fast", "--url", stub.url, "--format", "csv").returncode == 64


def test_a_trace_is_replayed_at_its_times_and_a_broken_line_is_named(
    run: Run, stub: Stub, tmp_path: Path
) -> None:
    line = '{{"timestamp": {}, "input_length": 20, "output_length": 4}}\n'
    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(line.format(number * 20) for number in range(40)))
    told = json.loads(
        run("run", "fast", "--url", stub.url, "--trace", str(trace), "--speed", "2", "--json").stdout
    )
    assert told["config"]["source"].startswith("trace.jsonl sha256:")
    figures = told["figures"] or told["untrusted_figures"]
    assert (figures["ok"], figures["tokens_out"]) == (40, 160)
    log = [json.loads(text) for text in (Path(told["folder"]) / "requests.jsonl").read_text().splitlines()]
    assert sorted(entry["due_us"] for entry in log)[:3] == [0, 10_000, 20_000]
    trace.write_text(line.format(0) + "oops\n")
    broken = run("run", "fast", "--url", stub.url, "--trace", str(trace))
    assert (broken.returncode, "trace.jsonl: line 2 is broken" in broken.stderr) == (9, True)


def test_a_piece_is_told_from_a_token(run: Run, stub: Stub, own_stub: Stub, tmp_path: Path) -> None:
    """Where a server joins tokens the screen says so; where it counts them, gaps are told of each too."""
    run("run", "two_a_piece", "--url", stub.url, "-c", "2", "-n", "40", "--out", "8")
    (place,) = runs(tmp_path)
    joined = results.load(place)
    # On a busy machine the run may be invalid, and its figures are not shown then.
    shown = "\n".join(bench_screen.lines(msgspec.structs.replace(joined, figures=joined.measured()), 200))
    assert "a piece holds 2.00 tokens: ITL is between pieces" in shown
    assert "--chunk-usage has vLLM count each" in shown
    asked = ("--url", own_stub.url, "-c", "2", "-n", "40", "--out", "8", "--chunk-usage")
    told = json.loads(run("run", "counted", *asked, "--json").stdout)
    latencies = (told["figures"] or told["untrusted_figures"])["latencies_ms"]
    assert (latencies["itl"]["count"], latencies["itl_token"]["count"]) == (40 * 3, 40 * 7)
    body = json.loads(own_stub.log()[0]["body"])
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    none = run("run", "embed", "--url", stub.url, "--endpoint", "embeddings", "--chunk-usage")
    assert (none.returncode, "is for streams" in none.stderr) == (64, True)


def test_embeddings_are_measured_and_an_empty_answer_is_no_success(run: Run, stub: Stub) -> None:
    args = ("--url", stub.url, "--endpoint", "embeddings", "-n", "35", "--json")
    told = json.loads(run("run", "embed", *args).stdout)
    figures = told["figures"] or told["untrusted_figures"]
    assert (figures["ok"], figures["tokens_in"]) == (35, 315)
    assert "e2e" in figures["latencies_ms"]
    assert "ttft" not in figures["latencies_ms"]
    empty = json.loads(run("run", "embed_empty", *args).stdout)
    assert empty["untrusted_figures"]["failures"] == {"malformed": 35}


def test_a_report_is_a_file_beside_the_run_or_where_it_is_asked_for(
    run: Run, stub: Stub, tmp_path: Path
) -> None:
    run("run", "fast", "--url", stub.url, "-n", "40", "--out", "8")
    (place,) = runs(tmp_path)
    done = run("report")
    assert (done.returncode, done.stdout.strip()) == (0, str(place / "report.html"))
    assert "<!doctype html>" in (place / "report.html").read_text()
    assert json.loads(run("report", "last", "--html", "page.html", "--json").stdout)["file"] == "page.html"
    assert run("report", "nothing").returncode == 9


def test_the_gateways_cost_is_what_lies_between_directly_and_through_it(
    run: Run, stub: Stub, own_stub: Stub
) -> None:
    args = ("--direct", stub.url, "--url", own_stub.url, "-n", "40", "--rounds", "1", "--out", "4")
    done = run("gateway", "fast", *args)
    assert done.returncode in {0, 1, 2}, done.stderr
    assert f"A: directly, {stub.url}" in done.stderr
    assert len(own_stub.log()) == 84


def test_the_profile_says_where_the_model_server_is_or_is_told_that_it_does_not(
    run: Run, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = {
        "name": "p",
        "runtime": "process",
        "gpus": "cpu",
        "models": {"fast": {"source": {"path": "chat"}, "task": "chat"}},
        "engines": {"port_base": 9},
        "edge": {"enabled": False},
        "monitoring": {"enabled": False},
    }
    (tmp_path / "chat").mkdir()
    (tmp_path / "infctl.yaml").write_text(yaml.safe_dump(profile))
    monkeypatch.setenv("GATEWAY_API_KEY", "x")
    known = run("gateway", "fast", "--url", stub.url)
    assert (known.returncode, "nothing answers at http://127.0.0.1:9" in known.stderr) == (9, True), known
    unknown = run("gateway", "steady", "--url", stub.url)
    assert unknown.returncode == 64
    assert "no model server that this machine reaches for steady" in unknown.stderr


def test_a_sweep_measures_each_load_and_tells_what_they_say_together(run: Run, stub: Stub) -> None:
    args = ("--concurrencies", "1,2", "-n", "40", "--out", "4", "--slo", "ttft=60000", "--json")
    done = run("sweep", "steady", "--url", stub.url, *args)
    assert done.returncode in {0, 9}, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == list(shapes.BENCH_SWEEP)
    assert [list(row) for row in told["steps"]] == [list(shapes.BENCH_SWEEP["steps"][0])] * 2
    assert [row["load"] for row in told["steps"]] == [1, 2]
    for row in told["steps"]:
        assert row["verdict"] == "invalid" or row["good_share"] == 1.0
    assert run("sweep", "steady", "--url", stub.url, "--concurrencies", "4,2").returncode == 64
    assert run("sweep", "steady", "--url", stub.url, "--concurrencies", "1.5").returncode == 64


def test_a_search_finds_what_a_server_of_two_places_can_do(run: Run, own_stub: Stub) -> None:
    """Two places of 50 ms: 40 a second."""
    args = ("--search", "--rates", "25", "--arrivals", "constant", "--slo", "e2e=160", "--repeats", "1")
    more = ("-n", "40", "--out", "4", "--precision", "30", "--json")
    done = run("sweep", "two_places", "--url", own_stub.url, *args, *more)
    assert done.returncode in {0, 9}, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == list(shapes.BENCH_SWEEP)
    assert list(told["search"]) == list(shapes.BENCH_SWEEP["search"])
    if any(row["verdict"] == "invalid" for row in told["steps"]):
        return  # this machine was busy, and the runs say so
    assert [row["load"] for row in told["steps"]][:2] == [25, 50]
    assert told["search"]["ended"] == "edge"
    assert 25 <= told["search"]["rate"] <= 44
    assert told["search"]["low"] <= told["search"]["rate"] < told["search"]["high"]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (Found(12.3456, 11.9, 13.04, "edge"), "95 % interval of the edge: 11.9 to 13.04"),
        (Found(64.0, 64.0, None, "most"), "and it was the most that might be asked for"),
        (Found(64.0, 64.0, None, "client"), "beyond it this client was the limit, not the server"),
        (Found(None, None, 1.0, "none"), "no rate kept the SLOs for 95% of its requests, down to 2 a second"),
        (Found(None, None, None, "client"), "no rate can be judged: its runs say nothing of the server"),
    ],
)
def test_a_search_says_how_it_ended(told: Found, said: str) -> None:
    result = SimpleNamespace(figures=None, id="x", verdict={"grade": "invalid"})
    swept = Swept(None, result, Path(), Step(2.0, 1.0, 100, 95))  # type: ignore[arg-type]
    assert bench_sweep.search_lines([swept], told, 100)[-1] == said


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--search",), "--search needs what is to be kept"),
        (("--search", "--slo", "ttft=9", "--rates", "1,2,4"), "FIRST,MOST"),
        (("--search", "--slo", "ttft=9", "--arrivals", "ramp:1", "--duration", "9"), "ramp has no place"),
        (("--trace", "t"), "the load of a trace is its speed"),
        (("--speeds", "1,2"), "the load of a trace is its speed"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(run: Run, stub: Stub, args: tuple[str, ...], said: str) -> None:
    done = run("sweep", "fast", "--url", stub.url, *args)
    assert (done.returncode, said in done.stderr) == (64, True), done.stderr


def test_sweeps_and_turns_ask_what_a_run_can_ask(
    run: Run, stub: Stub, own_stub: Stub, tmp_path: Path
) -> None:
    """Prefixes, conversations, prompts and traces."""
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "what is it?", "max_tokens": 3}\n')
    run("sweep", "fast", "--url", own_stub.url, "--concurrencies", "1", "-n", "3", "--prompts", str(file))
    bodies = [json.loads(entry["body"]) for entry in own_stub.log()]
    assert {(body["messages"][0]["content"], body["max_tokens"]) for body in bodies} == {("what is it?", 3)}
    line = '{{"timestamp": {}, "input_length": 20, "output_length": 4}}\n'
    file.write_text("".join(line.format(number * 20) for number in range(5)))
    args = ("--trace", str(file), "--speeds", "1,4", "--json")
    told = json.loads(run("sweep", "fast", "--url", own_stub.url, *args).stdout)
    assert [row["load"] for row in told["steps"]] == [1, 4]
    before = len(own_stub.log())
    args = ("-n", "4", "--rounds", "1", "--out", "4", "--turns", "2", "--prefix", "1x8")
    for command in (("ab", "--a", stub.url, "--b"), ("gateway", "--direct", stub.url, "--url")):
        done = run(command[0], "fast", *command[1:], own_stub.url, *args)
        assert done.returncode in {0, 1, 2}, done.stderr
    asked = [json.loads(entry["body"])["messages"] for entry in own_stub.log()[before:]]
    assert len(asked) == 24
    assert {len(messages) for messages in asked} == {1}  # the second turns are 64 requests later
    assert len({tuple(messages[0]["content"].split(" ")[:8]) for messages in asked}) == 4


def test_the_servers_counters_are_told_and_another_client_makes_a_run_suspect(
    run: Run, own_stub: Stub
) -> None:
    args = ("--url", own_stub.url, "-n", "40", "--out", "8", "--json")
    alone = json.loads(run("run", "fast", *args).stdout)
    assert (alone["server"]["tokens_out"], alone["server"]["queue_ms"]) == (336, 250.0)
    assert "tokens" not in {reason["what"] for reason in alone["verdict"]["reasons"]}
    shared = json.loads(run("run", "busy", *args).stdout)
    said = [reason["text"] for reason in shared["verdict"]["reasons"] if reason["what"] == "tokens"]
    assert said == ["the answers hold 336 tokens, the server counted 436: was it alone?"]


def test_the_servers_pages_are_told_beside_the_clients_figures(
    run: Run, own_stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time to first token split, the cache, preemptions, and joules per token from DCGM's exporter."""
    monkeypatch.setattr(bench_run, "Watching", partial(Watching, every_s=0.2))
    with pages.serving({"/engine": pages.vllm, "/gateway": pages.gateway, "/dcgm": pages.dcgm}) as url:
        args = ("--url", own_stub.url, "--duration", "2.5", "-c", "2", "--out", "8")
        named = [part for name in ("engine", "gateway", "dcgm") for part in ("--metrics", f"{url}/{name}")]
        told = json.loads(run("run", "steady", *args, *named, "--json").stdout)
        server = told["server"]
        assert server["split_ms"]["queue"] == pytest.approx(20.0)
        assert server["split_ms"]["gateway"] == pytest.approx(5.0)
        assert server["kv_use"]["most"] == 0.5
        assert server["samples"] >= 3
        energy = server["energy"]
        assert 10 < energy["watts"] < 1000  # two cards of 68 W, by looks that were meant 0.2 s apart
        assert energy["joules_a_token"] == pytest.approx(energy["joules"] / server["answered_tokens_out"])
        assert (Path(told["folder"]) / "server.jsonl").stat().st_size > 100
    kept = results.load(Path(told["folder"]))
    shown = "\n".join(bench_screen.server_lines(kept))
    assert "gateway 5.0, queue 20.0, prefill 50.0, the engine's rest 10.0" in shown
    assert "KV cache" in shown
    assert "joules per token out: " in shown


def test_joules_are_not_measured_where_no_card_tells(run: Run, own_stub: Stub) -> None:
    done = run("run", "fast", "--url", own_stub.url, "-n", "60", "--out", "8")
    assert done.returncode == 9 or "joules per token: not measured" in done.stdout
    refused = run("run", "fast", "--url", own_stub.url, "--metrics", "nonsense")
    assert (refused.returncode, "is no URL of a server" in refused.stderr) == (64, True)


def test_the_reference_platforms_claims_stand_beside_what_is_measured(run: Run, stub: Stub) -> None:
    args = ("run", "fast", "--url", stub.url, "--reference", "--duration", "0.6")
    done = run(*args, "--hardware", "cpu", "--json")
    assert done.returncode in {0, 9}, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == list(shapes.BENCH_REFERENCE)
    assert [list(row) for row in told["claims"]] == [list(shapes.BENCH_REFERENCE["claims"][0])] * 5
    assert [row["verdict"] for row in told["claims"]][:4] == ["not measured"] * 4
    assert [row["load"] for row in told["runs"]] == ["120 users at once, 16 tokens in, 1 out"]
    shown = run(*args)
    assert "measured on unknown hardware" in shown.stdout
    assert "not measured" in shown.stdout
    for more, said in (
        (("-c", "4"), "brings its own load"),
        (("--slo", "ttft=5"), "brings its own load"),
        (("--hardware", "4xL5"), "L5"),
    ):
        refused = run(*args, *more)
        assert refused.returncode in {4, 64}, refused
        assert said in refused.stderr
    assert run("run", "fast", "--url", stub.url, "--hardware", "4xL4").returncode == 64


def test_a_plan_stands_beside_what_was_measured_of_it(run: Run, own_stub: Stub, tmp_path: Path) -> None:
    profile = {
        "name": "p",
        "gpus": "1xL4",
        "models": {"chat": {"source": "Qwen/Qwen2.5-7B-Instruct", "task": "chat", "alias": ["fast"]}},
        "edge": {"enabled": False},
        "monitoring": {"enabled": False},
    }
    (tmp_path / "infctl.yaml").write_text(yaml.safe_dump(profile))
    with pages.serving({"/engine": pages.vllm}) as url:
        args = ("--url", own_stub.url, "--out", "8", "--metrics", f"{url}/engine", "--slo", "ttft=9000")
        told = json.loads(run("run", "fast", "--duration", "1.5", *args, "--json").stdout)
    done = run("plan", "--offline", "--json")
    if told["verdict"]["grade"] == "invalid":
        assert (done.returncode, "does not measure the server" in done.stderr) == (9, True)
        return
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == list(shapes.BENCH_PLAN)
    assert next(list(row) for row in found["figures"]) == list(shapes.BENCH_PLAN["figures"][0])
    assert next(list(row) for row in found["suggestions"]) == list(shapes.BENCH_PLAN["suggestions"][0])
    figures = {row["what"]: row for row in found["figures"]}
    assert figures["KV tokens, a replica"]["measured"] == 16_000
    assert figures["KV tokens, a replica"]["planned"] > 50_000
    assert {row["setting"] for row in found["suggestions"]} >= {
        "models.chat.max_num_seqs",
        "gateway.limits.in_flight",
    }
    shown = run("plan", "--offline")
    assert "chat, 1 replica, as planned, and as measured by " in shown.stdout
    run("run", "steady", "--url", own_stub.url, "-n", "30", "--out", "4")
    other = run("plan", "--offline")
    assert (other.returncode, "has no model steady" in other.stderr) == (64, True)
    assert run("plan", "last", "last~1", "--offline").returncode == 64


def test_a_profile_says_which_engines_to_look_at_and_which_cards_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the model's name and by its aliases; NVML is asked where the address is this machine's."""
    profile = {
        "name": "p",
        "runtime": "process",
        "gpus": "2xL4",
        "models": {
            "chat": {"source": {"path": "chat"}, "task": "chat", "replicas": 2, "alias": ["qwen"]},
        },
        "engines": {"port_base": 18200},
        "edge": {"enabled": False},
        "monitoring": {"enabled": False},
    }
    (tmp_path / "chat").mkdir()
    file = tmp_path / "infctl.yaml"
    file.write_text(yaml.safe_dump(profile))
    monkeypatch.setenv("GATEWAY_API_KEY", "x")
    where = bench_run.where(None, At(files=[file], metrics=["http://127.0.0.1:9400/metrics"]))
    assert [page.url.partition("//")[2] for page in where.pages] == [
        "127.0.0.1:8000/metrics",
        "127.0.0.1:9400/metrics",
    ]
    assert [page.key for page in where.pages] == ["x", None]
    assert where.engines["qwen"] == where.engines["chat"]
    assert [page.url for page in where.engines["chat"].pages] == [
        "http://127.0.0.1:18200/metrics",
        "http://127.0.0.1:18201/metrics",
    ]
    assert where.engines["chat"].cards == {"0", "1"}
    assert where.local
    assert not bench_run.where("http://box:8000", At()).local


def test_containers_are_looked_at_from_where_the_gateway_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_API_KEY", "x")
    where = bench_run.where(None, At(files=[PROFILES / "l4x4.yaml"]))
    assert where.engines["qwen"].inside == (
        "http://vllm-chat0:8000/metrics",
        "http://vllm-chat1:8000/metrics",
        "http://dcgm-exporter:9400/metrics",
    )
    assert where.engines["qwen"].cards == {"0", "1"}
    assert where.engines["embed"].inside[0] == "http://vllm-embed:8000/metrics"


def test_the_process_that_looks_inside_asks_as_the_platform_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without containers that is from here, which shows the way of a page from there to the samples."""
    monkeypatch.setenv("GATEWAY_API_KEY", "x")
    profile = {
        "name": "p",
        "runtime": "process",
        "gpus": "cpu",
        "models": {"served": {"source": {"path": "chat"}, "task": "chat"}},
        "edge": {"enabled": False},
        "monitoring": {"enabled": False},
    }
    (tmp_path / "chat").mkdir()
    file = tmp_path / "infctl.yaml"
    file.write_text(yaml.safe_dump(profile))
    with pages.serving({"/engine": pages.vllm, "/dcgm": pages.dcgm}) as url:
        inside = bench_inside.looking([file], [f"{url}/engine", f"{url}/dcgm", f"{url}/nothing"])
        seen = Watching((), "served", inside=replace(inside, every_s=0.2)).begin()
        deadline = time.monotonic() + 20
        assert seen._file is not None
        while seen._file.read_bytes().count(b"\n") < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        found = seen.end()
    assert found is not None
    assert len(found.samples) >= 3
    assert {KV_USE, ENERGY} <= set(found.samples[0][1])
    told = between(found.before, found.after)
    assert told is not None
    assert told["queue_ms"] == pytest.approx(20.0)
    nobody = bench_inside.looking([tmp_path / "no.yaml"], ["http://127.0.0.1:9/metrics"])
    assert nobody.ask() == ()


def test_without_the_package_that_reads_answers_it_says_what_to_install() -> None:
    """A bare `pip install infctl` has no httptools."""
    argv = ["infctl", "bench", "run", "chat", "--url", "http://127.0.0.1:9", "-n", "1"]
    code = (
        f"import sys; sys.modules['httptools'] = None; sys.argv = {argv}\n"
        "from infctl.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (9, "")
    assert done.stderr.splitlines() == [
        "error: a measurement needs the Python package httptools, which is not installed here",
        "  pip install 'infctl[gateway]'",
    ]

"""How each load tool is asked for the same load, and where in its report the figures are.

A prompt is 64 words; answers are `tokens` long, evenly spread by `spread` to both sides. Whatever a tool
counts or tokenizes itself it is told not to, as far as it can be told.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import others

PROMPT = "word " * 64
PROMPTS = 4000
"""Different ones, for tools that read them from a file."""


@dataclass(frozen=True)
class Load:
    kind: str
    streams: int
    """At once, in a closed loop."""
    tokens: int
    """Of an answer, on average: a chunk each."""
    spread: int
    seconds: float


@dataclass(frozen=True)
class Said:
    """What a tool reports of a run, by its own count."""

    chunks_per_s: float
    requests_per_s: float
    failed: int
    tpot_ms: float | None
    """Mean of (last piece - first piece) / (pieces - 1), whatever the tool calls it."""
    verdict: str = ""
    why: str = ""


@dataclass(frozen=True)
class Tool:
    name: str
    version: str
    missing: str
    """Why it cannot be run here; empty: it can."""
    argv: Callable[[Load, str, Path], list[str]]
    """Of a load, a server's address and a folder for what it reads and writes."""
    read: Callable[[Path], Said]
    env: Mapping[str, str] = field(default_factory=dict)


# --- infctl bench ------------------------------------------------------------------------------------------


def _lengths(load: Load) -> str:
    least, most = load.tokens - load.spread, load.tokens + load.spread
    return f"uniform:{least}-{most}" if load.spread else str(load.tokens)


def _infctl(load: Load, url: str, folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "infctl", "bench", "run", "chat", "--url", url, "-o", str(folder / "bench")),
        *("--in", "64", "--out", _lengths(load), "-c", str(load.streams)),
        *("--duration", str(load.seconds), "--warmup", "2s"),
    ]


def _infctl_said(folder: Path) -> Said:
    run = json.loads(next((folder / "bench").glob("*/result.json")).read_text())
    figures = run["figures"] or run["untrusted_figures"]
    tpot = figures["latencies_ms"].get("tpot")
    return Said(
        chunks_per_s=figures["tokens_out_per_s"],
        requests_per_s=figures["requests_per_s"],
        failed=figures["failed"],
        tpot_ms=tpot["mean"] if tpot else None,
        verdict=run["verdict"]["grade"],
        why="; ".join(reason["text"] for reason in run["verdict"]["reasons"]),
    )


# --- guidellm ----------------------------------------------------------------------------------------------

_ONE_WORKER = {"GUIDELLM__MAX_WORKER_PROCESSES": "1"}
"""Ten processes on one core stand in each other's way."""


def _guidellm(load: Load, url: str, folder: Path) -> list[str]:
    _rows(
        folder / "prompts.jsonl", load, lambda text, tokens: {"prompt": text, "output_tokens_count": tokens}
    )
    return [
        *(str(others.GUIDELLM.program), "run", "--disable-console-interactive"),
        *("--backend", f"kind=openai_http,target={url},model=chat"),
        *("--profile", f"kind=concurrent,streams={load.streams}"),
        *("--constraint", f"kind=max_duration,seconds={load.seconds:g}"),
        *("--data", f"kind=json_file,path={folder / 'prompts.jsonl'}"),
        *("--output", f"kind=json,path={folder / 'guidellm.json'}"),
    ]


def _guidellm_said(folder: Path) -> Said:
    metrics = json.loads((folder / "guidellm.json").read_text())["benchmarks"][0]["metrics"]
    # Its "inter-token latency" of a request is what others call TPOT; its TPOT has the first token in it.
    gaps = metrics["inter_token_latency_ms"]["successful"]
    return Said(
        chunks_per_s=metrics["output_tokens_per_second"]["total"]["mean"],
        requests_per_s=metrics["requests_per_second"]["successful"]["mean"],
        failed=metrics["request_totals"]["errored"],
        tpot_ms=gaps["mean"] if gaps["count"] else None,
    )


# --- aiperf ------------------------------------------------------------------------------------------------


def _aiperf(load: Load, url: str, folder: Path) -> list[str]:
    _rows(folder / "prompts.jsonl", load, lambda text, tokens: {"text": text, "output_length": tokens})
    return [
        *(str(others.AIPERF.program), "profile", "-m", "chat", "--url", url, "--endpoint-type", "chat"),
        *("--streaming", "--ui", "none", "--use-server-token-count", "--use-legacy-max-tokens"),
        *("--input-file", str(folder / "prompts.jsonl"), "--custom-dataset-type", "single_turn"),
        *("--concurrency", str(load.streams), "--benchmark-duration", f"{load.seconds:g}"),
        *(
            "--workers-max",
            "1",
            "--benchmark-grace-period",
            "5",
            "--tokenizer",
            str(_tokenizer(folder / "tokenizer")),
        ),
        *("--output-artifact-dir", str(folder / "aiperf")),
    ]


def _aiperf_said(folder: Path) -> Said:
    found = json.loads((folder / "aiperf" / "profile_export_aiperf.json").read_text())
    gaps = found.get("inter_token_latency")
    return Said(
        chunks_per_s=found["output_token_throughput"]["avg"],
        requests_per_s=found["request_throughput"]["avg"],
        failed=int((found.get("error_request_count") or {"avg": 0})["avg"]),
        tpot_ms=gaps["avg"] if gaps else None,
    )


def _tokenizer(folder: Path) -> Path:
    """One that knows the prompts' words: it wants one even where the server counts."""
    folder.mkdir()
    model = {"type": "WordLevel", "vocab": {"[UNK]": 0, "word": 1}, "unk_token": "[UNK]"}
    parts = {"pre_tokenizer": {"type": "WhitespaceSplit"}, "model": model}
    empty = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    told = {"version": "1.0", "added_tokens": [], **empty, **parts}
    (folder / "tokenizer.json").write_text(json.dumps(told))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))
    return folder


def _rows(file: Path, load: Load, row: Callable[[str, int], dict[str, Any]]) -> None:
    least, different = load.tokens - load.spread, 2 * load.spread + 1
    rows = (row(f"{number} {PROMPT}", least + number * 37 % different) for number in range(PROMPTS))
    file.write_text("".join(f"{json.dumps(each)}\n" for each in rows))


def _missing(package: others.Package) -> str:
    found = others.state(package)
    return "" if found["installed"] else str(found["why"])


def tools() -> list[Tool]:
    infctl = importlib.metadata.version("infctl")
    guidellm, aiperf = others.GUIDELLM, others.AIPERF
    return [
        Tool("infctl bench", infctl, "", _infctl, _infctl_said),
        Tool("guidellm", guidellm.version, _missing(guidellm), _guidellm, _guidellm_said, _ONE_WORKER),
        Tool("aiperf", aiperf.version, _missing(aiperf), _aiperf, _aiperf_said),
    ]

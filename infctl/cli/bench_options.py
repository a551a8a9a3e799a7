"""What the commands of `infctl bench` share: options in groups, each written once. See grouped.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from infctl.cli.options import Files

ModelMaybe = Annotated[
    str | None,
    typer.Argument(metavar="[MODEL]", help="Left out: the one that is served", show_default=False),
]
Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="A server with OpenAI's API. Left out: the profile's gateway"),
]
Endpoint = Annotated[
    str, typer.Option("--endpoint", metavar="E", help="chat, completions, embeddings or rerank")
]
LengthsIn = Annotated[
    str, typer.Option("--in", metavar="LENGTHS", help="Words of a prompt, each about a token")
]
LengthsOut = Annotated[str, typer.Option("--out", metavar="LENGTHS", help="Tokens to generate")]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        "-c",
        min=1,
        max=100_000,
        help="Closed loop: so many at once. With --rate: at most so many. Default without --rate: 1",
        show_default=False,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate", min=0.001, max=1e6, metavar="N", help="Open loop: requests a second", show_default=False
    ),
]
Arrivals = Annotated[
    str,
    typer.Option(
        "--arrivals", metavar="A", help="With --rate: poisson, constant, gamma:0.5, bursts:10, ramp:1"
    ),
]
Requests = Annotated[
    int | None,
    typer.Option(
        "--requests", "-n", min=1, max=10_000_000, help="So many that count. Default: 100", show_default=False
    ),
]
Duration = Annotated[
    float | None,
    typer.Option(
        "--duration",
        min=0.1,
        max=604_800,
        metavar="SECONDS",
        help="Send for so long instead",
        show_default=False,
    ),
]
WarmUp = Annotated[
    str | None,
    typer.Option(
        "--warmup",
        metavar="N|Ns",
        help="Left out of the figures: so many requests, or with --duration seconds (5s)",
        show_default=False,
    ),
]
CoolDown = Annotated[
    str | None,
    typer.Option("--cooldown", metavar="N|Ns", help="The same at the end", show_default=False),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Same seed, same bytes and times. Default: a new one", show_default=False),
]
SharedPrefix = Annotated[
    str | None,
    typer.Option(
        "--prefix", metavar="NxWORDS", help="N shared beginnings of so many words: 4x512", show_default=False
    ),
]
Turns = Annotated[int, typer.Option("--turns", min=1, max=100, help="Conversations of so many turns")]
Prompts = Annotated[
    Path | None,
    typer.Option(
        "--prompts", metavar="FILE", help="Ask these: JSONL, or ShareGPT's JSON", show_default=False
    ),
]
Trace = Annotated[
    Path | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="Ask when and as much as it says: Mooncake JSONL, BurstGPT or Azure CSV",
        show_default=False,
    ),
]
Speed = Annotated[float, typer.Option("--speed", min=0.001, max=1000, help="Of a trace: 2 is twice as fast")]
Slo = Annotated[
    list[str] | None,
    typer.Option(
        "--slo", metavar="M=MS", help="For the goodput: ttft=500; again for another", show_default=False
    ),
]
RequestTimeout = Annotated[
    float, typer.Option("--timeout", min=0.1, max=86_400, metavar="SECONDS", help="For each request")
]
IgnoreEos = Annotated[
    bool,
    typer.Option(
        "--ignore-eos/--no-ignore-eos",
        help="Have vLLM generate exactly --out tokens; fewer or more are then a failure",
    ),
]
ChunkUsage = Annotated[
    bool,
    typer.Option(
        "--chunk-usage", help="Have vLLM count the tokens of each piece: ITL of a token, not of a piece"
    ),
]
KeyEnv = Annotated[str, typer.Option("--key-env", metavar="NAME", help="The variable that holds the key")]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", metavar="FILE", help="Certificate to trust", show_default=False)
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Trust any certificate")]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metrics",
        metavar="URL",
        help="Look at this /metrics too: an engine's, DCGM's exporter's; again for another",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="DIR", help="Keep results there. Default: .infctl/bench", show_default=False
    ),
]
Form = Annotated[
    str, typer.Option("--format", metavar="F", help="table, json, or vllm: the keys of vllm bench serve")
]
Margin = Annotated[
    float, typer.Option("--margin", min=0.0, max=1000.0, metavar="PERCENT", help="Less is no difference")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """Where the server is reached with what, and where results are kept."""

    files: Files = None
    key_env: KeyEnv = "GATEWAY_API_KEY"
    ca_file: CaFile = None
    insecure: Insecure = False
    metrics: Metrics = None
    output: Output = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What is asked."""

    endpoint: Endpoint = "chat"
    lengths_in: LengthsIn = "256"
    lengths_out: LengthsOut = "64"
    ignore_eos: IgnoreEos = True
    chunk_usage: ChunkUsage = False
    prefix: SharedPrefix = None
    turns: Turns = 1
    prompts: Prompts = None
    trace: Trace = None
    seed: Seed = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much at once, or a second."""

    concurrency: Concurrency = None
    rate: Rate = None
    speed: Speed = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How requests arrive, how many, for how long; which of them count."""

    arrivals: Arrivals = "poisson"
    requests: Requests = None
    duration: Duration = None
    warmup: WarmUp = None
    cooldown: CoolDown = None
    timeout: RequestTimeout = 600.0

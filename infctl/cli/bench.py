"""`infctl bench`: measurements one can trust, and comparisons that mean something. JSON: shapes.BENCH_*."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json

if TYPE_CHECKING:
    from infctl.bench.results import Config
    from infctl.bench.session import Asked
    from infctl.cli.bench_run import Where

app = typer.Typer(
    name="bench",
    help="""Measure a model server: what it does under a load, and whether to believe it.

    \b
    Examples:
      infctl bench run chat --url http://127.0.0.1:8000 --concurrency 8 --requests 200
      infctl bench ab chat --a http://127.0.0.1:8101 --b http://127.0.0.1:8000 -c 8
      infctl bench compare last~1 last
      infctl bench gateway chat -f infctl.yaml
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)

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
KeyEnv = Annotated[str, typer.Option("--key-env", metavar="NAME", help="The variable that holds the key")]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", metavar="FILE", help="Certificate to trust", show_default=False)
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Trust any certificate")]
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
_TURN_REQUESTS = 50


@app.command()
def run(
    model: ModelMaybe = None,
    *,
    url: Url = None,
    files: Files = None,
    endpoint: Endpoint = "chat",
    lengths_in: LengthsIn = "256",
    lengths_out: LengthsOut = "64",
    concurrency: Concurrency = None,
    rate: Rate = None,
    arrivals: Arrivals = "poisson",
    requests: Requests = None,
    duration: Duration = None,
    warmup: WarmUp = None,
    cooldown: CoolDown = None,
    prefix: SharedPrefix = None,
    turns: Turns = 1,
    prompts: Prompts = None,
    trace: Trace = None,
    speed: Speed = 1.0,
    seed: Seed = None,
    slo: Slo = None,
    timeout: RequestTimeout = 600.0,
    ignore_eos: IgnoreEos = True,
    key_env: KeyEnv = "GATEWAY_API_KEY",
    ca_file: CaFile = None,
    insecure: Insecure = False,
    output: Output = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print the definition of each figure")] = False,
    form: Form = "table",
    json_output: Json = False,
) -> int:
    """Measure one server under one load, and say whether to believe the figures.

    Lengths: 128, uniform:64-256, normal:128,32, lognormal:128,64 (mean, deviation), or a mixture such as
    0.7*128+0.3*uniform:512-1024. Without --rate the loop is closed: a request follows an answer; warm-up and
    cool-down are then as many requests as go at once. With --rate requests are sent when they are due,
    answered or not, and latencies are told from schedule too.

    Kept in .infctl/bench: the result, and a line of JSON for each request. Nothing is sent twice. Exit code 9
    where nothing could be measured, or the figures are this client's limits and not the server's.

    \b
    Examples:
      infctl bench run chat --url http://127.0.0.1:8000 -c 8 -n 200 --in normal:256,64 --out 128
      infctl bench run chat -f infctl.yaml --rate 5 --duration 60 --slo ttft=500 --slo e2e=5000
    """
    from infctl.cli import bench_run

    bench_run.checked_form(form)
    where = bench_run.where(url, files, key_env, ca_file=ca_file, insecure=insecure, output=output)
    config, asked = bench_run.config(
        bench_run.ask(where, model),
        endpoint=endpoint,
        lengths_in=lengths_in,
        lengths_out=lengths_out,
        concurrency=concurrency,
        rate=rate,
        arrivals=arrivals,
        requests=requests,
        duration=duration,
        warmup=warmup,
        cooldown=cooldown,
        seed=seed,
        slo=slo or (),
        timeout=timeout,
        exact=ignore_eos,
        prefix=prefix,
        turns=turns,
        prompts=prompts,
        trace=trace,
        speed=speed,
    )
    return _run(config, asked, where, explain=explain, form="json" if json_output else form)


def _run(config: Config, asked: Asked, where: Where, *, explain: bool, form: str) -> int:
    from infctl.cli import bench_run, bench_screen, window

    result, place = bench_run.measured(config, asked, where)
    if form == "json":
        console.data(bench_run.as_data(result, place))
    elif form == "vllm":
        console.data(bench_run.as_vllm(place))
    else:
        for line in bench_screen.lines(result, window.width(), console.styled):
            console.fact(line)
        if explain:
            for line in ("", *bench_screen.definitions(result)):
                console.fact(line)
        console.say(f"kept in {place}")
    return bench_run.exit_code(result)


@app.command()
def gateway(
    model: ModelMaybe = None,
    *,
    files: Files = None,
    url: Url = None,
    direct: Annotated[
        str | None,
        typer.Option(
            "--direct",
            metavar="URL",
            help="The model server behind it. Left out: the profile's, where one serves the model",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=1000, help="Of A B B A: two pairs each")] = 4,
    margin: Margin = 2.0,
    endpoint: Endpoint = "chat",
    lengths_in: LengthsIn = "256",
    lengths_out: LengthsOut = "64",
    concurrency: Concurrency = None,
    rate: Rate = None,
    arrivals: Arrivals = "poisson",
    requests: Requests = None,
    duration: Duration = None,
    seed: Seed = None,
    timeout: RequestTimeout = 600.0,
    ignore_eos: IgnoreEos = True,
    key_env: KeyEnv = "GATEWAY_API_KEY",
    direct_key_env: Annotated[
        str, typer.Option("--direct-key-env", metavar="NAME", help="The variable with the model server's key")
    ] = "BACKEND_API_KEY",
    output: Output = None,
    json_output: Json = False,
) -> int:
    """Measure what the gateway itself costs: the same load directly (A) and through it (B), in turns.

    Exit codes are those of `bench ab`: 1 where the gateway makes it slower by the margin or more.

    \b
    Examples:
      infctl bench gateway chat -f infctl.yaml -c 4 -n 50
      infctl bench gateway chat --direct http://127.0.0.1:8101 --url http://127.0.0.1:8000
    """
    from infctl.cli import bench_compare, bench_run

    through = bench_run.where(url, files, key_env, output=output)
    name = bench_run.ask(through, model)
    engine = bench_run.direct(direct, files, direct_key_env, name, output=output)
    config, _ = bench_run.config(
        bench_run.ask(engine, name),
        endpoint=endpoint,
        lengths_in=lengths_in,
        lengths_out=lengths_out,
        concurrency=concurrency,
        rate=rate,
        arrivals=arrivals,
        requests=requests or (None if duration else _TURN_REQUESTS),
        duration=duration,
        seed=seed,
        timeout=timeout,
        exact=ignore_eos,
    )
    if not json_output:
        console.say(f"A: directly, {engine.url}\nB: through the gateway, {through.url}")
    pairs = bench_compare.in_turns(config, engine, through, rounds)
    return bench_compare.told(pairs, margin / 100, json_output=json_output)


@app.command()
def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Ids or beginnings of them, folders, last~1. Default: last"),
    ] = None,
    *,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Default: report.html beside the run", show_default=False
        ),
    ] = None,
    files: Files = None,
    output: Output = None,
    json_output: Json = False,
) -> None:
    """Write runs as one HTML page: verdict, tables, plots; of several, latency against load and Pareto.

    The page needs no network and has no script. An invalid run is told, and its figures are not drawn.

    \b
    Examples:
      infctl bench report
      infctl bench report last~2 last~1 last --html sweep.html
    """
    from infctl.cli import bench_run
    from infctl.cli.bench_report import write

    found = write(runs or ["last"], bench_run.home(files, output), html)
    if json_output:
        console.data({"file": str(found), "runs": runs or ["last"]})
    else:
        console.fact(str(found))


@app.command("list")
def list_(*, files: Files = None, output: Output = None, json_output: Json = False) -> None:
    """List the runs that are kept, the oldest first.

    \b
    Examples:
      infctl bench list
      infctl bench list --json | jq -r '.runs[] | select(.verdict == "valid") | .id'
    """
    from infctl.cli import bench_run, window
    from infctl.cli.bench_list import lines, rows

    found = rows(bench_run.home(files, output))
    if json_output:
        console.data({"runs": found})
        return
    for line in lines(found, window.width(), console.styled):
        console.fact(line)


@app.command()
def sweep(
    model: ModelMaybe = None,
    *,
    url: Url = None,
    files: Files = None,
    concurrencies: Annotated[
        str, typer.Option("--concurrencies", metavar="N,N,...", help="Closed loops: so many at once, rising")
    ] = "1,2,4,8,16",
    rates: Annotated[
        str | None,
        typer.Option(
            "--rates", metavar="N,N,...", help="Open loops instead: so many a second", show_default=False
        ),
    ] = None,
    endpoint: Endpoint = "chat",
    lengths_in: LengthsIn = "256",
    lengths_out: LengthsOut = "64",
    arrivals: Arrivals = "poisson",
    requests: Requests = None,
    duration: Duration = None,
    seed: Seed = None,
    slo: Slo = None,
    timeout: RequestTimeout = 600.0,
    ignore_eos: IgnoreEos = True,
    key_env: KeyEnv = "GATEWAY_API_KEY",
    ca_file: CaFile = None,
    insecure: Insecure = False,
    output: Output = None,
    json_output: Json = False,
) -> int:
    """Measure rising loads one after the other: the knee, and the greatest load that keeps the SLOs.

    The knee is the last load up to which a doubled load gives 1.4 times the requests or more. Of the SLOs the
    share of requests that kept them is told with its 95 % interval (Wilson). --requests and --duration are of
    each load; each is kept as a run, and `infctl bench report` draws them together.

    \b
    Examples:
      infctl bench sweep chat --url http://127.0.0.1:8000 --concurrencies 1,2,4,8 -n 100
      infctl bench sweep chat -f infctl.yaml --rates 1,2,4,8 --duration 60 --slo ttft=500
    """
    from infctl.cli import bench_run, bench_sweep, window

    found = bench_sweep.loads(rates or concurrencies, whole=rates is None)
    where = bench_run.where(url, files, key_env, ca_file=ca_file, insecure=insecure, output=output)
    config, _ = bench_run.config(
        bench_run.ask(where, model),
        endpoint=endpoint,
        lengths_in=lengths_in,
        lengths_out=lengths_out,
        concurrency=None if rates else int(found[0]),
        rate=found[0] if rates else None,
        arrivals=arrivals,
        requests=requests,
        duration=duration,
        seed=seed,
        slo=slo or (),
        timeout=timeout,
        exact=ignore_eos,
    )
    configs = bench_sweep.variants(config, found, rates=rates is not None)
    swept = bench_sweep.swept(configs, where)
    if json_output:
        console.data(bench_sweep.data(swept))
    else:
        unit = "a second" if rates else "at once"
        for line in bench_sweep.lines(swept, unit, window.width(), console.styled):
            console.fact(line)
    return bench_sweep.exit_code(swept)


@app.command()
def compare(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A run: its id or a beginning of it, a folder, last~1")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The run that may be worse: last, for example")],
    *,
    margin: Margin = 2.0,
    files: Files = None,
    output: Output = None,
    json_output: Json = False,
) -> int:
    """Say whether run B is worse than run A: each difference with its interval, and a verdict.

    Worse: the interval leaves out 0, and the difference is the margin or more. The machine, and what else it
    does, may have changed between two runs: `infctl bench ab` takes them in turns.

    Exit code 0: no worse was shown; 1: worse; 2: they cannot be compared (other loads, other failures, an
    invalid run).

    \b
    Examples:
      infctl bench compare last~1 last
      infctl bench compare 20261127T1053 20261127T1101 --margin 5 --json
    """
    from infctl.cli import bench_compare, bench_run

    home = bench_run.home(files, output)
    return bench_compare.told([bench_compare.pair(a, b, home)], margin / 100, json_output=json_output)


@app.command()
def ab(
    model: ModelMaybe = None,
    *,
    a: Annotated[str, typer.Option("--a", metavar="URL", help="What B is measured against")],
    b: Annotated[str, typer.Option("--b", metavar="URL", help="The server that may be worse")],
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=1000, help="Of A B B A: two pairs each")] = 4,
    margin: Margin = 2.0,
    endpoint: Endpoint = "chat",
    lengths_in: LengthsIn = "256",
    lengths_out: LengthsOut = "64",
    concurrency: Concurrency = None,
    rate: Rate = None,
    arrivals: Arrivals = "poisson",
    requests: Requests = None,
    duration: Duration = None,
    warmup: WarmUp = None,
    cooldown: CoolDown = None,
    seed: Seed = None,
    timeout: RequestTimeout = 600.0,
    ignore_eos: IgnoreEos = True,
    key_env: KeyEnv = "GATEWAY_API_KEY",
    b_key_env: Annotated[
        str | None,
        typer.Option("--b-key-env", metavar="NAME", help="Of B, if it is another", show_default=False),
    ] = None,
    ca_file: CaFile = None,
    insecure: Insecure = False,
    files: Files = None,
    output: Output = None,
    json_output: Json = False,
) -> int:
    """Measure two servers in turns, A B B A, and say whether B is worse than A.

    Both sides of a pair have the same lengths and arrival times, and other words, so that neither finds the
    other's prompts in a cache. --requests and --duration are of each turn; each is kept as a run of its own.

    Exit code 0: no worse was shown; 1: worse; 2: they cannot be compared; 9: nothing could be measured.

    \b
    Examples:
      infctl bench ab chat --a http://127.0.0.1:8101 --b http://127.0.0.1:8000 -c 8 -n 50
    """
    from infctl.cli import bench_compare, bench_run

    first = bench_run.where(a, files, key_env, ca_file=ca_file, insecure=insecure, output=output)
    second = bench_run.where(
        b, files, b_key_env or key_env, ca_file=ca_file, insecure=insecure, output=output
    )
    config, _ = bench_run.config(
        bench_run.ask(first, model),
        endpoint=endpoint,
        lengths_in=lengths_in,
        lengths_out=lengths_out,
        concurrency=concurrency,
        rate=rate,
        arrivals=arrivals,
        requests=requests or (None if duration else _TURN_REQUESTS),
        duration=duration,
        warmup=warmup,
        cooldown=cooldown,
        seed=seed,
        timeout=timeout,
        exact=ignore_eos,
    )
    bench_run.ask(second, config.model)
    pairs = bench_compare.in_turns(config, first, second, rounds)
    return bench_compare.told(pairs, margin / 100, json_output=json_output)


__all__ = ["app"]

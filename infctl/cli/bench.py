"""`infctl bench`: measurements one can trust, and comparisons that mean something. JSON: shapes.BENCH_*."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import console
from infctl.cli.bench_options import Asking, At, Course, Form, Margin, ModelMaybe, Output, Pace, Slo, Url
from infctl.cli.grouped import grouped
from infctl.cli.options import Files, Json
from infctl.errors import UsageError

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
      infctl bench plan last
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)

_TURN_REQUESTS = 50


@app.command()
@grouped
def run(
    model: ModelMaybe = None,
    *,
    url: Url = None,
    at: At,
    asking: Asking,
    pace: Pace,
    course: Course,
    slo: Slo = None,
    reference: Annotated[
        bool,
        typer.Option("--reference", help="The reference platform's claims beside what is measured here"),
    ] = False,
    hardware: Annotated[
        str | None,
        typer.Option(
            "--hardware",
            metavar="GPUS",
            help="With --reference and --url: what is behind it: 4xL4, none",
            show_default=False,
        ),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print the definition of each figure")] = False,
    form: Form = "table",
    json_output: Json = False,
) -> int:
    """Measure one server under one load, and say whether to believe the figures.

    Lengths: 128, uniform:64-256, normal:128,32, lognormal:128,64 (mean, deviation), or a mixture such as
    0.7*128+0.3*uniform:512-1024. Without --rate the loop is closed: a request follows an answer; warm-up and
    cool-down are then as many requests as go at once. With --rate requests are sent when they are due,
    answered or not, and latencies are told from schedule too.

    --reference runs what the reference platform's page claims, each claim with the figure beside it; exit
    code 1 where one falls short on that page's hardware.

    Kept in .infctl/bench: the result, and a line of JSON for each request. Nothing is sent twice. Exit code 9
    where nothing could be measured, or the figures are this client's limits and not the server's.

    \b
    Examples:
      infctl bench run chat --url http://127.0.0.1:8000 -c 8 -n 200 --in normal:256,64 --out 128
      infctl bench run chat -f infctl.yaml --rate 5 --duration 60 --slo ttft=500 --slo e2e=5000
      infctl bench run chat -f l4x4.yaml --reference
    """
    from infctl.cli import bench_run

    bench_run.checked_form(form)
    if reference:
        from infctl.cli import bench_reference

        bench_reference.only(asking, pace, course, slo)
        return bench_reference.run(url, at, model, hardware, asking, course, json_output=json_output)
    if hardware is not None:
        raise UsageError("--hardware is of --reference")
    where = bench_run.where(url, at)
    config, asked = bench_run.config(bench_run.ask(where, model), asking, course, pace, slo=slo or ())
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
@grouped
def gateway(
    model: ModelMaybe = None,
    *,
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
    at: At,
    asking: Asking,
    pace: Pace,
    course: Course,
    direct_key_env: Annotated[
        str, typer.Option("--direct-key-env", metavar="NAME", help="The variable with the model server's key")
    ] = "BACKEND_API_KEY",
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

    through = bench_run.where(url, at)
    name = bench_run.ask(through, model)
    engine = bench_run.direct(direct, at, direct_key_env, name)
    config, _ = bench_run.config(bench_run.ask(engine, name), asking, _turn(course, asking), pace)
    if not json_output:
        console.say(f"A: directly, {engine.url}\nB: through the gateway, {through.url}")
    pairs = bench_compare.in_turns(config, engine, through, rounds, asking)
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
@grouped
def sweep(
    model: ModelMaybe = None,
    *,
    url: Url = None,
    concurrencies: Annotated[
        str, typer.Option("--concurrencies", metavar="N,N,...", help="Closed loops: so many at once, rising")
    ] = "1,2,4,8,16",
    rates: Annotated[
        str | None,
        typer.Option(
            "--rates", metavar="N,N,...", help="Open loops instead: so many a second", show_default=False
        ),
    ] = None,
    speeds: Annotated[
        str | None,
        typer.Option("--speeds", metavar="N,N,...", help="Of --trace: so many times as fast, rising"),
    ] = None,
    search: Annotated[
        bool,
        typer.Option("--search", help="Look for the greatest rate that keeps the SLOs; --rates FIRST,MOST"),
    ] = False,
    precision: Annotated[
        float, typer.Option("--precision", min=0.5, max=100.0, metavar="PERCENT", help="Of the search")
    ] = 10.0,
    repeats: Annotated[
        int,
        typer.Option("--repeats", min=1, max=100, help="Of the search: runs at each rate of the edge"),
    ] = 4,
    at: At,
    asking: Asking,
    course: Course,
    slo: Slo = None,
    json_output: Json = False,
) -> int:
    """Measure rising loads one after the other: the knee, and the greatest load that keeps the SLOs.

    The knee is the last load up to which a doubled load gives 1.4 times the requests or more. Of the SLOs the
    share of requests that kept them is told with its 95 % interval (Wilson). --requests and --duration are of
    each load; each is kept as a run, and `infctl bench report` draws them together.

    --search looks for the greatest rate at which 95 % of the requests keep every --slo: it doubles the rate
    until they do not, halves what lies between, and measures both sides of the edge --repeats times.

    \b
    Examples:
      infctl bench sweep chat --url http://127.0.0.1:8000 --concurrencies 1,2,4,8 -n 100
      infctl bench sweep chat -f infctl.yaml --rates 1,2,4,8 --duration 60 --slo ttft=500
      infctl bench sweep chat -f infctl.yaml --search --slo ttft_due=500 --slo tpot=50
      infctl bench sweep chat -f infctl.yaml --trace mooncake.jsonl --speeds 0.5,1,2
    """
    from infctl.cli import bench_run, bench_sweep, window

    loads = bench_sweep.chosen(concurrencies, rates, speeds, traced=asking.trace is not None, search=search)
    course = bench_sweep.course(course, slo=slo or (), search=search)
    where = bench_run.where(url, at)
    config, _ = bench_run.config(bench_run.ask(where, model), asking, course, loads.pace(), slo=slo or ())
    if search:
        from infctl.bench.search import Asked as Wanted

        wanted = Wanted(
            loads.found[0], loads.found[-1] if rates and "," in rates else inf, precision / 100, repeats
        )
        runs, told = bench_sweep.searched(wanted, config, where, asking)
        if json_output:
            console.data(bench_sweep.data(runs, told))
        else:
            for line in bench_sweep.search_lines(runs, told, window.width(), console.styled):
                console.fact(line)
        return bench_sweep.exit_code(runs)
    swept = bench_sweep.swept(bench_sweep.variants(config, loads), where, asking)
    if json_output:
        console.data(bench_sweep.data(swept))
    else:
        for line in bench_sweep.lines(swept, loads.unit, window.width(), console.styled):
            console.fact(line)
    return bench_sweep.exit_code(swept)


@app.command()
def plan(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Ids or beginnings of them, folders, last~1. Default: last"),
    ] = None,
    *,
    files: Files = None,
    gpus: Annotated[
        str | None,
        typer.Option("--gpus", metavar="GPUS", help="Plan for these: 4xL4", show_default=False),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no hub for a model's config")] = False,
    output: Output = None,
    json_output: Json = False,
) -> None:
    """Lay what was planned beside what runs measured, and say what the settings might better be.

    Of one model of the profile: tokens of its KV cache, requests at once, tokens a step, limits; and a
    suggestion for max_num_seqs, max_num_batched_tokens and the limits, each with its evidence. Of several
    runs, such as a sweep's with --slo, limits are those of the greatest load that kept the SLOs. Nothing is
    changed.

    \b
    Examples:
      infctl bench plan
      infctl bench plan last~2 last~1 last -f l4x4.yaml
    """
    from infctl.cli import bench_plan, bench_run

    home = bench_run.home(files, output)
    bench_plan.run(runs or ["last"], home, files, gpus, offline=offline, json_output=json_output)


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
@grouped
def ab(
    model: ModelMaybe = None,
    *,
    a: Annotated[str, typer.Option("--a", metavar="URL", help="What B is measured against")],
    b: Annotated[str, typer.Option("--b", metavar="URL", help="The server that may be worse")],
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=1000, help="Of A B B A: two pairs each")] = 4,
    margin: Margin = 2.0,
    at: At,
    asking: Asking,
    pace: Pace,
    course: Course,
    b_key_env: Annotated[
        str | None,
        typer.Option("--b-key-env", metavar="NAME", help="Of B, if it is another", show_default=False),
    ] = None,
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

    first = bench_run.where(a, at)
    second = bench_run.where(b, replace(at, key_env=b_key_env or at.key_env))
    config, _ = bench_run.config(bench_run.ask(first, model), asking, _turn(course, asking), pace)
    bench_run.ask(second, config.model)
    pairs = bench_compare.in_turns(config, first, second, rounds, asking)
    return bench_compare.told(pairs, margin / 100, json_output=json_output)


def _turn(course: Course, asking: Asking) -> Course:
    """Of `ab` and `gateway`: each turn is short, where nothing else says how long it is."""
    ends = course.requests or course.duration or asking.trace
    return course if ends else replace(course, requests=_TURN_REQUESTS)


__all__ = ["app"]

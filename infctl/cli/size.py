"""`infctl size`: will one model fit on one card, and what would its KV cache hold. JSON: shapes.SIZE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from infctl.cli import console
from infctl.cli.options import Json
from infctl.cli.size_args import (
    DTYPES,
    KV_DTYPES,
    RUNNERS,
    TOKENS_MAX,
    VERSIONS,
    checked_card,
    checked_share,
    checked_size,
    checked_word,
)
from infctl.errors import PlanError, UsageError

if TYPE_CHECKING:
    from infctl.models import ModelFacts
    from infctl.sizing import Card, EngineArgs, MemoryNeed

_MODEL = "A folder, a config.json, or a model of the hub (org/name)"


def size(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL)],
    *,
    gpu: Annotated[
        str | None,
        typer.Option("--gpu", metavar="NAME", help="The card: L4, H100, A100 80GB, RTX 4090 ...; or cpu"),
    ] = None,
    gpu_total_bytes: Annotated[
        str | None,
        typer.Option(
            "--gpu-total-bytes",
            metavar="SIZE",
            help="The card's memory as cudaMemGetInfo counts it; wins over the catalogue",
        ),
    ] = None,
    max_model_len: Annotated[
        int | None,
        typer.Option(
            "--max-model-len",
            metavar="N",
            min=1,
            max=TOKENS_MAX,
            help="Context in tokens; left out: what the model takes",
        ),
    ] = None,
    max_num_batched_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-num-batched-tokens", metavar="N", min=1, max=TOKENS_MAX, help="Tokens computed in one step"
        ),
    ] = None,
    max_num_seqs: Annotated[
        int | None,
        typer.Option("--max-num-seqs", metavar="N", min=1, max=65_536, help="Requests computed at once"),
    ] = None,
    gpu_memory_utilization: Annotated[
        float | None,
        typer.Option("--gpu-memory-utilization", metavar="F", help="Share of the card that vLLM may take"),
    ] = None,
    kv_cache_dtype: Annotated[
        str | None, typer.Option("--kv-cache-dtype", metavar="D", help=f"One of {', '.join(KV_DTYPES)}")
    ] = None,
    kv_cache_memory_bytes: Annotated[
        str | None,
        typer.Option(
            "--kv-cache-memory-bytes", metavar="SIZE", help="KV cache a GPU, instead of what is left"
        ),
    ] = None,
    quantization: Annotated[
        str | None,
        typer.Option(
            "--quantization", "-q", metavar="Q", help="fp8, awq, gptq ...; left out: as the weights say"
        ),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", metavar="D", help=f"One of {', '.join(DTYPES)}")
    ] = None,
    block_size: Annotated[
        int | None,
        typer.Option("--block-size", metavar="N", min=1, max=1024, help="Tokens in a block of the KV cache"),
    ] = None,
    enforce_eager: Annotated[
        bool, typer.Option("--enforce-eager", help="No compilation and no CUDA graphs")
    ] = False,
    async_scheduling: Annotated[
        bool | None,
        typer.Option(
            "--async-scheduling/--no-async-scheduling",
            help="The next step is prepared while the GPU works; left out: as vLLM decides",
            show_default=False,
        ),
    ] = None,
    tensor_parallel_size: Annotated[
        int,
        typer.Option(
            "--tensor-parallel-size", metavar="N", min=1, max=64, help="GPUs each layer is cut across"
        ),
    ] = 1,
    pipeline_parallel_size: Annotated[
        int,
        typer.Option(
            "--pipeline-parallel-size", metavar="N", min=1, max=64, help="GPUs the layers are spread over"
        ),
    ] = 1,
    expert_parallel: Annotated[
        bool, typer.Option("--enable-expert-parallel", help="Whole experts a GPU instead of parts of all")
    ] = False,
    runner: Annotated[
        str | None,
        typer.Option("--runner", metavar="R", help="pooling for embeddings and rerank; generate; auto"),
    ] = None,
    vllm_version: Annotated[
        str,
        typer.Option(
            "--vllm-version", metavar="V", help="0.25, measured on GPUs; or 0.32, which is deployed"
        ),
    ] = "0.25",
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the hub, whatever is missing")
    ] = False,
    json_output: Json = False,
) -> int:
    """Say whether a model fits on a card, and what its KV cache would hold. Needs no GPU and no weights.

    Options are vLLM's own; what is left out is what vLLM would take on that card. Exit code 1: it does not
    fit; the longest context that would is told.

    vLLM 0.25 is the newest version of which starts on GPUs were measured, and this command is held to them.
    vLLM 0.32 also takes the CUDA graphs out of the KV cache's share, so that less is left; the screen says
    how much. `infctl plan` always plans for the version it deploys, 0.32.

    \b
    Examples:
      infctl size Qwen/Qwen2.5-7B-Instruct --gpu L4 --max-model-len 8192
      infctl size ./my-model --gpu H100 --tensor-parallel-size 2 --json
    """
    from dataclasses import replace

    from infctl.cli.quantized import as_asked
    from infctl.sizing import EngineArgs
    from infctl.sizing.need import need

    args = EngineArgs(
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        gpu_memory_utilization=checked_share("--gpu-memory-utilization", gpu_memory_utilization),
        kv_cache_memory_bytes=checked_size("--kv-cache-memory-bytes", kv_cache_memory_bytes),
        dtype=checked_word("--dtype", dtype, DTYPES),
        quantization=quantization,
        kv_cache_dtype=checked_word("--kv-cache-dtype", kv_cache_dtype, KV_DTYPES),
        block_size=block_size,
        tensor_parallel=tensor_parallel_size,
        pipeline_parallel=pipeline_parallel_size,
        expert_parallel=expert_parallel,
        enforce_eager=enforce_eager,
        async_scheduling=async_scheduling,
        runner=checked_word("--runner", runner, RUNNERS),
        vllm=checked_word("--vllm-version", vllm_version, VERSIONS) or "0.25",
    )
    card = _card(gpu, checked_size("--gpu-total-bytes", gpu_total_bytes))
    facts, odd = as_asked(_facts(model, offline=offline), quantization)
    found = need(facts, args, card)
    if odd:
        found = replace(found, warnings=(*found.warnings, *odd))
    if json_output:
        console.data(_data(model, found, facts, card))
    else:
        _show(model, found, facts, args)
    return 0 if found.fits else 1


def _data(model: str, found: MemoryNeed, facts: ModelFacts, card: Card) -> dict[str, Any]:
    from infctl.cli.need_data import need_data

    return {
        **need_data(found),
        "model": model,
        "architecture": facts.architecture,
        "facts_from": facts.origin,
        "gpu": card.name,
        "gpu_total_bytes": card.total_bytes,
        "gpu_total_nominal": card.nominal,
        "vllm_version": found.resolved.vllm,
    }


def _show(model: str, found: MemoryNeed, facts: ModelFacts, args: EngineArgs) -> None:
    from dataclasses import replace

    from infctl.cli.size_screen import lines
    from infctl.cli.window import speaks_utf8, width
    from infctl.sizing.need import need

    other = need(facts, replace(args, vllm="0.25" if args.vllm == "0.32" else "0.32"), found.card)
    for line in lines(
        model,
        found,
        width(),
        other=other,
        origin=facts.origin,
        warnings=facts.warnings,
        utf8=speaks_utf8(),
        paint=console.styled,
    ):
        console.fact(line)


def _card(name: str | None, total: int | None) -> Card:
    """From the catalogue, unless its memory is given. Raises PlanError with the three nearest names."""
    from infctl.gpus import lookup, nearest
    from infctl.sizing import Card

    if name is None:
        if total is None:
            raise UsageError(
                "no card: --gpu or --gpu-total-bytes is missing", hint="--gpu L4, or --gpu-total-bytes 22GiB"
            )
        return Card("GPU", total)
    name = checked_card("--gpu", name)
    if name == "cpu":
        from infctl.cli import machine

        memory = total or machine.memory()
        if not memory:
            raise UsageError(
                "this machine does not say how much memory it has", hint="--gpu-total-bytes 16GiB"
            )
        return Card("CPU", memory, cpu=True)
    known = lookup(name)
    if known is None and total is not None:
        return Card(name, total)
    if known is None:
        raise PlanError(
            f"no card called {name} is in the catalogue",
            hint=f"close to it: {', '.join(nearest(name))}\n"
            "any card goes with its memory: --gpu-total-bytes 24GiB",
        )
    if total is not None:
        return Card(known.name, total, capability=known.capability)
    return Card(known.name, known.memory_bytes, nominal=known.nominal, capability=known.capability)


def _facts(model: str, *, offline: bool) -> ModelFacts:
    import os

    from infctl.models.source import of

    # None: as HF_HUB_OFFLINE says. Well-known models need no network.
    return of(model, env=os.environ, offline=True if offline else None, carried_first=True)

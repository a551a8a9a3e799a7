"""Sources, GPUs, replicas, memory: what contradicts itself before anything is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from infctl.profile.check.finding import Finding
from infctl.profile.check.names import services
from infctl.profile.schema import Model, Profile, Source

_GPU_ONLY = (
    "gpu_memory_utilization",
    "cpu_offload",
    "tensor_parallel",
    "pipeline_parallel",
    "enable_expert_parallel",
)


def check(profile: Profile) -> Iterator[Finding]:
    yield from _cards(profile)
    for name, model in profile.models.items():
        path = f"models/{name}"
        yield from _source(path, model.source)
        yield from _placement(path, model, profile)
        yield from _memory(path, model)
        yield from _calls(path, model, len(services(name, model)))


def warn(profile: Profile) -> Iterator[Finding]:
    shares = Counter(model.gpu.share for model in profile.models.values() if model.gpu.share)
    for name, model in profile.models.items():
        if model.gpu.share and shares[model.gpu.share] == 1 and len(profile.models) > 1:
            message = f'no other model is on share "{model.gpu.share}"'
            yield Finding(
                f"models/{name}/gpu", message, "the same name on another model puts both on one GPU"
            )
        if model.weights and profile.gateway.balancing.policy != "weighted":
            policy = profile.gateway.balancing.policy
            hint = "gateway: {balancing: {policy: weighted}}"
            yield Finding(f"models/{name}/weights", f"nothing looks at them: the policy is {policy}", hint)
        if model.concurrency and model.max_num_seqs and model.concurrency > model.max_num_seqs:
            message = (
                f"an engine computes {model.max_num_seqs} at once (max_num_seqs); the others wait inside it"
            )
            hint = "no more than max_num_seqs: those who wait in the gateway are served fairly"
            yield Finding(f"models/{name}/concurrency", message, hint)


def _cards(profile: Profile) -> Iterator[Finding]:
    seen: set[object] = set()
    for number, card in enumerate(profile.gpus.devices):
        for value in (card.index, card.uuid):
            if value is not None and value in seen:
                yield Finding(f"gpus/{number}", f"{value} is listed twice", "each card once")
            seen.add(value)


def _source(path: str, source: Source) -> Iterator[Finding]:
    named = [kind for kind in ("hub", "path", "package") if getattr(source, kind) is not None]
    if len(named) != 1:
        message = f"{' and '.join(named)} are named" if named else "no source is named"
        yield Finding(f"{path}/source", message, "exactly one of hub, path, package")
    elif source.revision is not None and source.hub is None:
        yield Finding(
            f"{path}/source/revision", f"a {named[0]} has no revision", "leave it out; it belongs to a hub id"
        )


def _placement(path: str, model: Model, profile: Profile) -> Iterator[Finding]:
    gpu = model.gpu
    named = [kind for kind in ("index", "uuid", "share") if getattr(gpu, kind) is not None]
    wide = model.tensor_parallel * model.pipeline_parallel
    if profile.gpus.kind == "cpu":
        if named:
            yield Finding(f"{path}/gpu", "there is no GPU: gpus is cpu", "leave it out")
        for field in _GPU_ONLY:
            if field in model.model_fields_set:
                yield Finding(f"{path}/{field}", "means nothing on a CPU: gpus is cpu", "leave it out")
        return
    if len(named) > 1:
        yield Finding(f"{path}/gpu", f"{' and '.join(named)} are named", "exactly one of index, uuid, share")
        return
    if not named or named == ["index"]:
        return
    if (model.replicas or 1) > 1:
        what = "one card" if gpu.uuid else "one GPU"
        hint = "gpu: auto gives each replica its own; or replicas: 1"
        yield Finding(f"{path}/replicas", f"{model.replicas} replicas are bound to {what}", hint)
    if wide > 1:
        hint = "gpu: auto, or tensor_parallel and pipeline_parallel: 1"
        yield Finding(f"{path}/gpu", f"one GPU is named, a replica needs {wide}", hint)


def _memory(path: str, model: Model) -> Iterator[Finding]:
    if model.gpu_memory_utilization is not None and model.kv_cache_memory is not None:
        hint = "keep one: the share is a ceiling for all, the bytes are the KV cache alone"
        yield Finding(f"{path}/kv_cache_memory", "gpu_memory_utilization is written too", hint)
    batched, length = model.max_num_batched_tokens, model.max_model_len
    if (
        model.enable_chunked_prefill is False
        and batched is not None
        and length is not None
        and batched < length
    ):
        hint = f"at least {length}, or enable_chunked_prefill: true"
        message = f"{batched} tokens a step cannot take a prompt of {length} in one piece"
        yield Finding(f"{path}/max_num_batched_tokens", message, hint)


def _calls(path: str, model: Model, replicas: int) -> Iterator[Finding]:
    """What the gateway is told of its replicas."""
    if model.weights and len(model.weights) != replicas:
        many = f"{len(model.weights)} weight{'s' * (len(model.weights) != 1)}"
        there = f"{replicas} replica{'s' * (replicas != 1)}"
        yield Finding(f"{path}/weights", f"{many} for {there}", "one a replica, in order: [2, 1]")
    if model.loading is not None and model.loading > model.start_timeout:
        hint = "lower it, or raise start_timeout"
        yield Finding(f"{path}/loading", "a start that takes so long has failed before (start_timeout)", hint)

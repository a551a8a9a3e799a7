"""The engines' containers, and the one that fetches their weights before they start. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infctl import packaged
from infctl.host import Host
from infctl.plan import Replica
from infctl.plan.model import GATE, KV_BYTES
from infctl.profile.schema import Model
from infctl.stack import Service
from infctl.stack.containers import Attachment, Container, Devices, Limit, Mount, Needs
from infctl.stack.names import (
    CONTAINER_PORT,
    ENGINE_CACHE,
    HUB_CACHE,
    HUB_KEYS,
    KEYS,
    LOCKS,
    MODELS,
    PREPARE,
    SCRIPTS,
    WEIGHTS,
    Names,
)
from infctl.stack.shared import Shared, asks, seconds

ENGINE_KEYS = "engine-keys"
ENGINE_CACHES = "vllm-cache"
GPU_LOCKS = "gpu-locks"
HUB_TOKEN = "hub-keys"  # noqa: S105 - a volume's name
EGRESS = "egress"
"""The one network with a way out: weights come in by it."""


def weights_folder(model: Model, names: Names, host: Host) -> str:
    """Of a model that is not the hub's: where its weights lie on this machine."""
    if model.source.package is not None:
        return str(packaged.folder(model.source.package, host.env))
    return names.file(str(model.source.path))


def engines(shared: Shared) -> Iterator[Container]:
    replicas = {replica.service: replica for replica in shared.plan.replicas}
    for service in shared.stack.services:
        if service.role == "engine":
            yield _engine(shared, service, replicas[service.name])


def _engine(shared: Shared, service: Service, replica: Replica) -> Container:
    profile, names = shared.profile, shared.names
    model = profile.models[replica.model]
    health = f"http://127.0.0.1:{CONTAINER_PORT}/health"
    grace = seconds(service.stop_timeout_s)
    return shared.container(
        service.name,
        "engine",
        profile.engines.image,
        name=names.engine(service.name),
        pull=profile.engines.pull,
        entrypoint=("python3", f"{SCRIPTS}/start.py"),
        command=(
            "--lock", f"{LOCKS}/{service.start_group}", "--health", health, "--key-file", f"{KEYS}/backend",
            "--", *service.argv,
        ),
        env=service.env,
        user=shared.user,
        networks=(
            Attachment(profile.networks.backend),
            *([Attachment(EGRESS)] if _asks_the_hub(shared, model) else []),
        ),
        mounts=tuple(_mounts(shared, replica.model, model)),
        healthcheck=asks(health, start_period_s=_start_period(shared, replica)),
        devices=_devices(shared, replica),
        needs=tuple(_needs(shared, replica, model)),
        shm_bytes=profile.engines.shm_size or None,
        # Kernels that are compiled at the start are loaded from there.
        scratch=",exec",
        limits=(Limit("memlock", -1, -1), Limit("stack", 64 * 2**20, 64 * 2**20)) if replica.gpus else (),
        stop_grace_s=grace,
        reasons=tuple(_reasons(shared, service, replica, model, int(grace))),
    )  # fmt: skip


def _mounts(shared: Shared, name: str, model: Model) -> Iterator[Mount]:
    yield shared.rendered("engine", SCRIPTS)
    yield Mount("volume", ENGINE_KEYS, KEYS)
    yield Mount("volume", GPU_LOCKS, LOCKS, read_only=False)
    yield Mount("volume", ENGINE_CACHES, ENGINE_CACHE, read_only=False)
    if model.source.hub is None:
        yield Mount("bind", weights_folder(model, shared.names, shared.host), f"{MODELS}/{name}")
    if model.source.hub is not None or model.tokenizer is not None:
        asks_the_hub = _asks_the_hub(shared, model)
        yield Mount("bind", shared.names.hub_cache, HUB_CACHE, read_only=not asks_the_hub)
        if asks_the_hub:
            yield Mount("volume", HUB_TOKEN, HUB_KEYS)
    if model.chat_template is not None:
        inside = shared.names.template(name, model.chat_template)
        yield Mount("bind", shared.names.file(model.chat_template), inside)


def _asks_the_hub(shared: Shared, model: Model) -> bool:
    """By itself, at its start: the profile says that weights are not fetched before."""
    return not shared.profile.engines.offline and _of_the_hub(model)


def _of_the_hub(model: Model) -> bool:
    return model.source.hub is not None or model.tokenizer is not None


def _needs(shared: Shared, replica: Replica, model: Model) -> Iterator[Needs]:
    yield Needs(PREPARE, "service_completed_successfully")
    if shared.profile.engines.offline and _of_the_hub(model):
        yield Needs(WEIGHTS, "service_completed_successfully")
    if replica.starts_after is not None:
        yield Needs(replica.starts_after, "service_healthy")


def _start_period(shared: Shared, replica: Replica) -> float:
    """Its own start, and those of the neighbours that load before it."""
    replicas = {one.service: one for one in shared.plan.replicas}
    total, seen, one = 0.0, set[str](), replica
    while one.service not in seen:
        seen.add(one.service)
        total += shared.profile.models[one.model].start_timeout
        one = replicas.get(one.starts_after or "", one)
    return seconds(total)


def _devices(shared: Shared, replica: Replica) -> Devices | None:
    if not replica.gpus:
        return None
    ids = tuple(gpu.uuid or str(gpu.index) for gpu in replica.gpus)
    if shared.profile.engines.gpu_driver == "cdi":
        return Devices("cdi", tuple(f"nvidia.com/gpu={one}" for one in ids))
    return Devices("nvidia", ids)


def _reasons(
    shared: Shared, service: Service, replica: Replica, model: Model, grace_s: int
) -> Iterator[tuple[str, str]]:
    yield "service", f"{replica.model}: {_place(replica)}"
    yield "--lock", "neighbours load one after the other, after a restart too"
    yield "--key-file", "read at the start, so that no key is in the environment"
    for setting in replica.settings:
        if setting.flag in service.argv:
            yield setting.flag, setting.why
    if model.gpu_memory_utilization is not None:
        yield GATE, f"written in the profile, so {KV_BYTES} is left out: vLLM measures what is left of it"
    elif model.kv_cache_memory is not None and replica.gpus:
        yield KV_BYTES, "written in the profile"
    if model.max_model_len is not None:
        yield "--max-model-len", "written in the profile"
    yield "--shutdown-timeout", "s for running requests after SIGTERM; vLLM's own 0 would cut them"
    yield "user", shared.user_why
    if replica.gpus:
        yield "device_ids", ", ".join(_card(gpu.index, gpu.name, gpu.uuid) for gpu in replica.gpus)
        yield "ulimits", "pinned memory for copies to the GPU, and deep stacks of compiled code"
    if replica.starts_after is not None:
        yield "depends_on", f"on the same GPU: each measures free memory, so {replica.starts_after} is first"
    yield "shm_size", "tensor parallelism passes tensors through it"
    yield "stop_grace_period", f"more than --shutdown-timeout; after {grace_s} s comes SIGKILL"
    yield "start_period", "loading and compiling; failed looks do not count before"


def _place(replica: Replica) -> str:
    if not replica.gpus:
        return "on the CPU"
    cards = ", ".join(str(gpu.index) for gpu in replica.gpus)
    where = f"on GPU {cards}"
    need = replica.need
    if need is None or need.kv is None or not need.kv.tokens:
        return where
    return f"{where}; {need.kv.tokens:,} tokens of KV cache planned"


def _card(index: int, name: str, uuid: str) -> str:
    what = f"GPU {index}" + (f", {name}" if name else "")
    return what if uuid else f"{what}, by index: its UUID is not known here"


def weights(shared: Shared) -> Container | None:
    """Fetches what the engines then load without a way out. None: there is nothing to fetch."""
    profile = shared.profile
    wanted = fetched(shared)
    if not wanted or not profile.engines.offline:
        return None
    cache = shared.names.hub_cache
    runs_as = shared.user_for(cache)
    return shared.container(
        WEIGHTS,
        "weights",
        profile.engines.image,
        pull=profile.engines.pull,
        entrypoint=("python3", f"{SCRIPTS}/weights.py"),
        command=("--cache", HUB_CACHE, "--token-file", f"{HUB_KEYS}/token", *wanted),
        env=tuple(
            # The engines' own variables as well: HF_ENDPOINT or HTTPS_PROXY are for this one before all.
            {
                "HF_HOME": HUB_CACHE,
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "DO_NOT_TRACK": "1",
                **profile.engines.env,
            }.items()
        ),
        user=runs_as,
        networks=(Attachment(EGRESS),),
        mounts=(
            shared.rendered("engine", SCRIPTS),
            Mount("volume", HUB_TOKEN, HUB_KEYS),
            Mount("bind", cache, HUB_CACHE, read_only=False),
        ),
        needs=(Needs(PREPARE, "service_completed_successfully"),),
        restart="no",
        reasons=(
            ("service", "fetches the models' files into the cache, then ends; by hand: infctl pull"),
            ("networks", "the only service with a way out; the engines have none"),
            ("user", shared.user_why if runs_as == shared.user else "owns the cache's folder"),
        ),
    )


def fetched(shared: Shared) -> tuple[str, ...]:
    """Arguments of weights.py: each repository that engines load, once; `org/name@revision`."""
    models = shared.profile.models.values()
    tokenizers = dict.fromkeys(model.tokenizer for model in models if model.tokenizer is not None)
    hub = dict.fromkeys(
        f"{model.source.hub}@{model.source.revision}" if model.source.revision else model.source.hub
        for model in models
        if model.source.hub is not None
    )
    return (*(word for one in tokenizers for word in ("--tokenizer", one)), *hub)

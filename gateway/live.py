"""What all rooms of a running gateway share: the configuration in force, the counts, the log.

A reload makes a new `Settings` and sets it in one assignment: a request sees the old one or the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway import config as configuration
from gateway import environment
from gateway.admission import Admission
from gateway.caching import Caching
from gateway.catalog import Catalog
from gateway.client import Client
from gateway.config import Config, ConfigError
from gateway.identify import Gate
from gateway.log import Journal
from gateway.metrics import Metrics
from gateway.policy.balancer import Backend, Balancer
from gateway.policy.hedge import Hedges
from gateway.policy.retry import Retries
from gateway.salt import Salts


@dataclass(frozen=True, slots=True)
class Settings:
    """gateway.yaml and the keys it names, read together and found good together."""

    config: Config
    gate: Gate
    catalog: Catalog
    salts: Salts


def read_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """Raises ConfigError. The process's environment wins over the .env file, which may be missing."""
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
    env |= {name: value for name, value in environ.items() if value}
    config = environment.apply(config, env, str(path))
    return Settings(config, Gate(config, env, str(path)), Catalog(config), Salts(config, env))


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What became of a reload. `problems`: it was refused for these, and nothing has changed."""

    problems: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    """Backends that are not in the new configuration."""


@dataclass(slots=True)
class Live:
    settings: Settings
    balancer: Balancer
    admission: Admission
    retries: Retries
    hedges: Hedges
    caching: Caching
    client: Client
    metrics: Metrics
    journal: Journal
    started_at: float
    """The loop's clock."""
    created: float
    """Seconds since 1970."""
    draining: bool = False
    warnings: list[str] = field(default_factory=list)
    """What an operator should know; shown by /health/detailed."""

    leaving: set[Backend] = field(default_factory=set)
    """Gone from the configuration, with requests still to end."""

    reload: Callable[[], Reloaded] = Reloaded
    """Reads the configuration anew, as SIGHUP does; wired in app.py."""

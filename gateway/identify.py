"""Who asks: by the shared key a client of some address, by a key of its own a tenant. Sans-I/O.

    Gate      the keys, proxies and networks that the files name; made anew by a reload
    Tenancy   ... with the keys and limits that were set at run time: who may call, and what holds for whom

Keys are kept as SHA-256 only and compared in constant time; one that is unknown, expired or revoked costs the
same steps. `X-Forwarded-For` is believed from the right, as far as the hops are proxies of the profile.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest
from secrets import token_bytes
from typing import Final

from gateway.config import Config, ConfigError, Figures
from gateway.policy import keys as making
from gateway.policy import levels
from gateway.policy.holder import Holder
from gateway.policy.keys import Key
from gateway.policy.levels import Level
from gateway.policy.limits import Limit, model_scope, tenant_scope
from gateway.policy.ring import Ring
from gateway.refusal import Refusal

DIGEST_BYTES: Final = 32
UNKNOWN: Final = "unknown"
SHARED: Final = "shared"
"""The tenant of those who are told apart by nothing."""
CALLERS_MAX: Final = 10_000
"""Remembered."""
FORWARDED_BYTES: Final = 256
"""A longer X-Forwarded-For is read anew each time: a client must not fill our memory with them."""
KEY_ID_CHARS: Final = 8
"""Of the hash of a key, for the log: tells keys apart, gives nothing away."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Terms:
    """What holds for a caller and a model."""

    __slots__ = ("holder", "limits", "models")

    def __init__(self, models: frozenset[str] | None, limits: tuple[Limit, ...]) -> None:
        self.models = models
        """It may use, by their own names; None: all."""
        self.limits = limits
        self.holder: Holder | None = None
        """Who meets these limits, once somebody counts them."""


class Caller:
    """Made once, used for each call of theirs."""

    __slots__ = ("key", "key_id", "tenant", "terms")

    def __init__(self, tenant: str, key_id: str | None, key: Key | None = None) -> None:
        self.tenant = tenant
        """With the shared key and keys.tenant address: the client's address."""
        self.key_id = key_id
        self.key = key
        """The tenant's own one, that it was sent with."""
        self.terms: dict[str, Terms] = {}
        """By model, as far as they were asked for: `Tenancy.terms`."""


class Networks:
    """Is an address in one of them? Remembers its answers."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        self._networks: tuple[Network, ...] = tuple(map(ipaddress.ip_network, networks))
        self._cached = lru_cache(maxsize=4096)(self._look)

    def __contains__(self, address: str) -> bool:
        return self._cached(address)

    def _look(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)


class Gate:
    """The keys and proxies of one configuration."""

    def __init__(self, config: Config, env: Mapping[str, str], file: str = "gateway.yaml") -> None:
        """Raises ConfigError when a key that must be there is not."""
        keys = config.keys
        shared = env.get(keys.shared_env, "") if keys.shared_env else ""
        admin = env.get(keys.admin_env, "") or shared
        if keys.shared_env and not shared:
            where = f"in {config.env_file} or the environment" if config.env_file else "in the environment"
            raise ConfigError(
                file, (f"keys.shared_env: {keys.shared_env} is not set: give it a value {where}",)
            )
        for name in (keys.shared_env, keys.admin_env, keys.backend_env):
            value = env.get(name, "") if name else ""
            if value and not (value.isascii() and value.isprintable()):
                raise ConfigError(file, (f"keys: {name} holds a character that no header can carry",))
        # What is not set is no empty key, which whoever sends none would have.
        self._shared = _digest(shared.encode()) if shared else token_bytes(DIGEST_BYTES)
        self._admin = _digest(admin.encode()) if admin else token_bytes(DIGEST_BYTES)
        asks = bool(shared) or config.has_tenants_keys
        self._open = not asks
        self._admin_open = not admin and not asks
        self._proxies = Networks(config.trusted_proxies)
        self._metrics = Networks(config.metrics_open_to)
        self._behind = lru_cache(maxsize=4096)(self._first_stranger)
        backend = env.get(keys.backend_env, "")
        self.backend_line = b"authorization: Bearer %b\r\n" % backend.encode() if backend else b""
        """The header that backends get in place of the client's."""
        self.shared_is_admin = bool(shared) and not env.get(keys.admin_env, "")
        self._shared_id = self._shared.hex()[:KEY_ID_CHARS] if shared else None
        self.keys = tuple(_written_keys(config, env, file, shared))
        """Of tenants, as the files name them."""
        self._one = config.keys.tenant != "address"
        self._known = {
            str(ipaddress.ip_network(network)): name
            for name, tenant in config.tenants.items()
            for network in tenant.addresses
        }
        self._named = lru_cache(maxsize=4096)(self._name)

    def by_shared_key(self, digest: bytes) -> bool:
        """... or nobody is asked for one. `digest`: of the key that was sent."""
        return self._open or compare_digest(digest, self._shared)

    def of_address(self, address: str) -> Caller:
        """Who has sent the shared key from there."""
        if self._one:
            return Caller(SHARED, self._shared_id)
        return Caller(self._named(address) if self._known else address, self._shared_id)

    def _name(self, address: str) -> str:
        """The tenant with the smallest network around the address; without one, the address itself."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return address
        around = [net for net in map(ipaddress.ip_network, self._known) if parsed in net]
        return self._known[str(max(around, key=lambda net: net.prefixlen))] if around else address

    def admin(self, authorization: bytes | None, tenant: str) -> Caller:
        """Somebody who may change things. Raises Refusal (401)."""
        if not self._admin_open and not compare_digest(_digest(_bearer(authorization)), self._admin):
            raise _unauthorized(authorization, admin=True)
        return Caller(tenant, "admin")

    def address(self, forwarded: bytes | None, peer: str) -> str:
        """The client's address: the first from the right that is not one of our proxies."""
        if forwarded is None or peer not in self._proxies:
            return peer or UNKNOWN
        if len(forwarded) > FORWARDED_BYTES:
            return self._first_stranger(forwarded, peer)
        return self._behind(forwarded, peer)

    def _first_stranger(self, forwarded: bytes, peer: str) -> str:
        address = peer
        for raw in reversed(forwarded.split(b",")):
            hop = raw.strip().decode("latin-1")
            try:
                address = str(ipaddress.ip_address(hop))
            except ValueError:
                break  # what was written there is no address: the last good one stands
            if address not in self._proxies:
                break
        return address

    def reads_metrics(self, address: str) -> bool:
        return address in self._metrics


class Tenancy:
    """All keys, and what was set for whom. Never changed: a change makes a new one."""

    def __init__(
        self,
        config: Config,
        gate: Gate,
        figures: Mapping[str, Figures] | None = None,
        keys: tuple[Key, ...] = (),
        used: dict[str, float] | None = None,
    ) -> None:
        """`figures`: set at run time, by scope. `keys`: created at run time. `used`: where it is noted when
        each key was used last, by id.
        """
        self._config = config
        self._gate = gate
        self._figures = figures or {}
        self.keys = keys
        self._used: dict[str, float] = {} if used is None else used
        self._ring = Ring((*keys, *gate.keys))
        self._one_for_all = config.keys.tenant == "shared"
        self._proper = {
            alias: model.name for model in config.models for alias in (model.name, *model.aliases)
        }
        self._callers: dict[str | Key, Caller] = {}

    def caller(self, authorization: bytes | None, address: str, clock_s: float) -> Caller:
        """A client of the data plane. Raises Refusal (401)."""
        gate, digest = self._gate, _digest(_bearer(authorization))
        key = self._ring.find(digest, clock_s)
        if key is not None:
            self._used[key.id] = clock_s
        elif not gate.by_shared_key(digest):
            raise _unauthorized(authorization)
        found = self._callers.get(key or address)
        if found is None:
            if len(self._callers) >= CALLERS_MAX:
                self._callers.clear()
            found = self._callers[key or address] = self._made(key, address)
        return found

    def _made(self, key: Key | None, address: str) -> Caller:
        if key is None:
            return self._gate.of_address(address)
        return Caller(SHARED if self._one_for_all else key.tenant, key.id, key)

    def levels(self, tenant: str) -> dict[Level, Figures]:
        """What each level says of a tenant; the environment is within what the profile says."""
        found: dict[Level, Figures] = {"profile": self._config.limits}
        written = self._config.tenants.get(tenant)
        if written is not None:
            found["tenant"] = written.limits
        set_for = self._figures.get(tenant_scope(tenant))
        if set_for is not None:
            found["run_time"] = set_for
        return found

    def terms(self, caller: Caller, model: str) -> Terms:
        """`model`: its own name; empty: of no model in particular."""
        found = caller.terms.get(model)
        if found is None:
            found = caller.terms[model] = self._found(caller, model)
        return found

    def _found(self, caller: Caller, model: str) -> Terms:
        tenant, said = caller.tenant, self.levels(caller.tenant)
        limits = whole = levels.tenant_limits(tenant, said)
        key = caller.key
        if key is not None:
            limits += levels.key_limits(whole, key.id, key.figures, key.name or f"{tenant}'s key {key.shown}")
        of_model = self._figures.get(model_scope(tenant, model))
        if of_model is not None:
            limits += levels.model_limits(whole, tenant, model, of_model, f"{tenant}, with {model},")
        allowed = levels.models_allowed(said, None if key is None else key.figures)
        if allowed is not None:
            allowed = frozenset(self._proper.get(name, name) for name in allowed)
        return Terms(allowed, limits)


def _bearer(authorization: bytes | None) -> bytes:
    if authorization is None or authorization[:7].lower() != b"bearer ":
        return b""
    return authorization[7:].strip()


def _written_keys(config: Config, env: Mapping[str, str], file: str, shared: str) -> Iterator[Key]:
    """Raises ConfigError."""
    owners: dict[str, str] = {shared: "every client, the shared one"} if shared else {}
    for name, tenant in config.tenants.items():
        for variable in tenant.key_envs:
            text = env.get(variable, "")
            if not text:
                continue  # a key that is not set lets nobody in; `reload` warns of it
            problem = f"tenants.{name}: {variable}"
            if not (text.isascii() and text.isprintable()):
                raise ConfigError(file, (f"{problem} holds a character that no header can carry",))
            other = owners.setdefault(text, name)
            if other != name:
                raise ConfigError(file, (f"{problem} holds the key of {other}",))
            yield making.known(name, text, variable)


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()


def _unauthorized(authorization: bytes | None, *, admin: bool = False) -> Refusal:
    kind = "the admin key" if admin else "your API key"
    what = "The key is not valid here." if authorization else "No API key was sent."
    message = f"{what} Send `Authorization: Bearer KEY` with {kind}."
    return Refusal(401, "invalid_api_key", message, headers=b"www-authenticate: Bearer\r\n")

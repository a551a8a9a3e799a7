"""Who asks: the key decides whether, the address decides for whom. Sans-I/O.

Keys are kept as SHA-256 only and compared in constant time. `X-Forwarded-For` is believed from the right, as
far as the hops are proxies of the profile.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest
from typing import Final

import msgspec

from gateway.config import Config, ConfigError
from gateway.refusal import Refusal

UNKNOWN: Final = "unknown"
FORWARDED_BYTES: Final = 256
"""A longer X-Forwarded-For is read anew each time: a client must not fill our memory with them."""
KEY_ID_CHARS: Final = 8
"""Of the hash of a key, for the log: tells keys apart, gives nothing away."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Caller(msgspec.Struct, frozen=True):
    tenant: str
    """With one shared key: the client's address."""
    key_id: str | None


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
        self._shared = _digest(shared.encode())
        self._admin = _digest(admin.encode())
        self._open = not shared
        self._admin_open = not admin
        self._proxies = Networks(config.trusted_proxies)
        self._metrics = Networks(config.metrics_open_to)
        self._behind = lru_cache(maxsize=4096)(self._first_stranger)
        backend = env.get(keys.backend_env, "")
        self.backend_line = b"authorization: Bearer %b\r\n" % backend.encode() if backend else b""
        """The header that backends get in place of the client's."""
        self.shared_is_admin = bool(shared) and not env.get(keys.admin_env, "")
        self._shared_id = self._shared.hex()[:KEY_ID_CHARS] if shared else None

    def caller(self, authorization: bytes | None, tenant: str) -> Caller:
        """A client of the data plane; `tenant`: its `address`. Raises Refusal (401)."""
        if self._open:
            return Caller(tenant, None)
        if not compare_digest(_digest(_bearer(authorization)), self._shared):
            raise _unauthorized(authorization)
        return Caller(tenant, self._shared_id)

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


def _bearer(authorization: bytes | None) -> bytes:
    if authorization is None or authorization[:7].lower() != b"bearer ":
        return b""
    return authorization[7:].strip()


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()


def _unauthorized(authorization: bytes | None, *, admin: bool = False) -> Refusal:
    kind = "the admin key" if admin else "your API key"
    what = "The key is not valid here." if authorization else "No API key was sent."
    message = f"{what} Send `Authorization: Bearer KEY` with {kind}."
    return Refusal(401, "invalid_api_key", message, headers=b"www-authenticate: Bearer\r\n")

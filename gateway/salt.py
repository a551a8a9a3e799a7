"""Each tenant's own salt for the engines' prefix caches: vLLM shares a prefix only between equal salts.

Without it a client can find out, by how fast the first token comes, what others have asked. The salt is an
HMAC, the same in every worker and after a restart; a client's own `cache_salt` divides its tenant's further.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from hmac import digest
from typing import Final

from gateway.config import Config

TENANTS: Final = 4096
"""Whose salts are remembered."""


class Salt:
    """One tenant's."""

    __slots__ = ("_key", "field", "plain")

    def __init__(self, key: bytes, tenant: str) -> None:
        self._key = digest(key, b"tenant " + tenant.encode(), sha256)
        self.plain = _text(self._key)
        self.field = b'"cache_salt":"%b"' % self.plain.encode()
        """For a body that has none."""

    def mixed(self, own: str | None) -> str:
        """`own`: what the client sent as its `cache_salt`."""
        if own is None:
            return self.plain
        return _text(digest(self._key, own.encode("utf-8", "surrogatepass"), sha256))


class Salts:
    def __init__(self, config: Config, env: Mapping[str, str]) -> None:
        keys = config.keys
        names = (keys.salt_env, keys.backend_env, keys.shared_env)
        secret = next((env[name] for name in names if name and env.get(name)), None)
        key = os.urandom(32) if secret is None else digest(secret.encode(), b"infctl cache salt", sha256)
        self._shared = config.cache_salt == "shared"
        self._of = lru_cache(maxsize=TENANTS)(lambda tenant: Salt(key, tenant))

    def of(self, tenant: str) -> Salt | None:
        """None: prefixes are shared by all."""
        return None if self._shared else self._of(tenant)


def _text(digested: bytes) -> str:
    return urlsafe_b64encode(digested).rstrip(b"=").decode()

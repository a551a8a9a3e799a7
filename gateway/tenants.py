"""Who may call, and what of their limits is left: the keys, the limits and the store of one worker.

    files            gateway.yaml and .env: `Gate`, at start and with each reload
    run time         keys and limits in the store: `Tenancy` is made anew whenever their generation changes
    counts           `Limiter`, which asks the store; None where no store is configured: nobody is held back

What is set at run time holds in every worker within a second: the store's thread looks for it, and `renew`
does at once what that would do.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec

from gateway import metrics
from gateway.config import Config, ConfigError, Figures
from gateway.identify import Tenancy, Terms
from gateway.limiter import Limiter
from gateway.metrics import Sample
from gateway.policy.exchange import StoreDown
from gateway.policy.holder import Holder
from gateway.policy.keys import Key
from gateway.policy.levels import BadSetting, figures
from gateway.policy.limits import tenant_scope
from gateway.settings import Settings
from gateway.store.protocol import Settings as RunTime
from gateway.store.protocol import Store, StoreRefused

USED_S: Final = 60.0
"""Between two notes in the store of when keys were used."""
LOAD_S: Final = 3.0
"""For what was set at run time, before the first call is taken; a store that is away is not waited for."""

Trouble = Callable[[str], None]
"""Why the store does not answer; empty: it does again."""


class Tenants:
    """Within a running loop."""

    def __init__(
        self,
        settings: Settings,
        store: Store | None,
        *,
        workers: int = 1,
        on_trouble: Trouble | None = None,
        on_renewed: Callable[[int], None] | None = None,
    ) -> None:
        """`on_renewed`: what was set at run time has been taken over, up to this generation."""
        self._settings = settings
        self._on_trouble = on_trouble
        self._on_renewed = on_renewed
        self.generation = 0
        """Of what was set at run time, as it is in force here."""
        self.figures: dict[str, Figures] = {}
        """Set at run time, by scope."""
        self.why = ""
        """The store does not answer."""
        self.unread: list[str] = []
        """Scopes whose limits cannot be read: another version wrote them."""
        self._renewing: asyncio.Task[int] | None = None
        self.limiter: Limiter | None = None
        self.used: dict[str, float] = {}
        """When keys were used here, by id: what the store has not been told."""
        self._telling: asyncio.TimerHandle | None = None
        self.tenancy = self._made(())
        if store is not None:
            self.limiter = Limiter(
                store,
                f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex}",
                shared=is_shared(settings.config),
                workers=workers,
                on_change=self._changed,
                on_trouble=self._trouble,
            )
            self._tell_later()

    def configure(self, settings: Settings) -> None:
        """After a reload: what was set at run time stays."""
        self._settings = settings
        self.tenancy = self._made(self.tenancy.keys)

    def _made(self, keys: tuple[Key, ...]) -> Tenancy:
        settings = self._settings
        return Tenancy(settings.config, settings.gate, self.figures, keys, self.used)

    def holder(self, terms: Terms, tenant: str, model: str) -> Holder:
        """Whose limits a call meets. There is a limiter."""
        assert self.limiter is not None  # noqa: S101 - said above
        found = terms.holder = self.limiter.holder(tenant, model, terms.limits)
        return found

    async def load(self) -> None:
        """Before the first call. A store that does not answer has said nothing: its keys open nothing yet."""
        if self.limiter is None:
            return
        try:
            async with asyncio.timeout(LOAD_S):
                await asyncio.shield(self.renew())
        except (StoreDown, TimeoutError) as error:
            self._trouble(str(error) or f"no answer within {LOAD_S:g} s")

    async def renew(self) -> int:
        """Takes over what is set at run time by now. The generation. Raises StoreDown."""
        assert self.limiter is not None  # noqa: S101 - there is nothing to renew without
        while self._renewing is not None:  # it may have looked before the change was made
            await asyncio.wait([self._renewing])
        self._renewing = asyncio.get_running_loop().create_task(self._renew_alone(self.limiter))
        return await asyncio.shield(self._renewing)

    def gauges(self) -> Iterator[Sample]:
        if self.limiter is None:
            return
        ledger = self.limiter.ledger
        yield metrics.STORE_UP, (), float(not self.why)
        yield metrics.STORE_WAITING, (), ledger.waiting
        yield metrics.TOKENS_BEYOND, (), ledger.over
        held = ledger.held()
        for code, (free, reserved) in held.items():
            yield metrics.LEASED, (code,), free
            yield metrics.RESERVED, (code,), reserved
        configured = self._settings.config.tenants
        for limit, left in ledger.known():
            if limit.owner in configured and limit.scope == tenant_scope(limit.owner):
                yield metrics.LIMIT, (limit.owner, limit.code), limit.amount
                yield metrics.LIMIT_LEFT, (limit.owner, limit.code), left

    def warnings(self) -> list[str]:
        """What lasts, and an operator should know."""
        found = []
        if self.why:
            found.append(
                f"the store of counts does not answer ({self.why}): quotas are served from what is held of"
                " them and then refused, rates and requests in flight are divided among the workers"
            )
        if self.unread:
            found.append(f"limits of {', '.join(self.unread[:5])} cannot be read: a newer gateway wrote them")
        return found

    async def close(self) -> bool:
        """Tells the store all that was used. False: it could not be told in time."""
        if self.limiter is None:
            return True
        self._tell_used(self.limiter)  # before the last exchange, on the same thread
        if self._telling is not None:
            self._telling.cancel()
        return await self.limiter.close()

    def _tell_later(self) -> None:
        assert self.limiter is not None  # noqa: S101 - there is nobody to tell
        self._telling = asyncio.get_running_loop().call_later(USED_S, self._tell_used, self.limiter)

    def _tell_used(self, limiter: Limiter) -> None:
        """When keys were used: once a minute, and never in a call's way."""
        self._tell_later()
        if not self.used:
            return
        told = self.used.copy()
        self.used.clear()

        def back(telling: asyncio.Future[None]) -> None:
            if not telling.cancelled() and telling.exception() is not None:
                self.used.update({**told, **self.used})  # in a minute again

        limiter.call(lambda store: store.put_used(told)).add_done_callback(back)

    async def _renew(self, limiter: Limiter) -> int:
        found = await limiter.call(_settings)
        self.unread = []
        self.figures = {}
        for scope, said in found.figures.items():
            try:
                self.figures[scope] = figures(msgspec.json.decode(said))
            except (BadSetting, msgspec.DecodeError):
                self.unread.append(scope)
        self.tenancy = self._made(found.keys)
        self.generation = found.generation
        if self._on_renewed is not None:
            self._on_renewed(found.generation)
        return found.generation

    def _changed(self, generation: int) -> None:
        if generation != self.generation and self._renewing is None:
            self._renewing = asyncio.get_running_loop().create_task(self._renew_later())

    async def _renew_alone(self, limiter: Limiter) -> int:
        """Its end is seen whoever waits for it, and also if nobody does any longer."""
        try:
            return await self._renew(limiter)
        finally:
            self._renewing = None

    async def _renew_later(self) -> int:
        assert self.limiter is not None  # noqa: S101 - it has told of the change
        try:
            return await self._renew_alone(self.limiter)
        except StoreDown:
            return self.generation  # the next look finds it again: exchanges tell of the trouble

    def _trouble(self, why: str) -> None:
        self.why = why
        if self._on_trouble is not None:
            self._on_trouble(why)


def is_shared(config: Config) -> bool:
    """Others may use the same counters."""
    return config.workers > 1 or (config.store is not None and config.store.kind == "redis")


def open_store(settings: Settings, file: str = "gateway.yaml") -> Store | None:
    """As configured. Raises ConfigError for one that cannot be used, or that does not answer."""
    store = settings.config.store
    if store is None:
        return None
    try:
        # Digests of keys and who used how much: for its user alone.
        Path(store.path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        problem = f"store: {store.path}: its folder cannot be made: {error.strerror}"
        raise ConfigError(file, (problem,)) from None
    try:
        if store.kind == "sqlite":
            from gateway.store.sqlite import SQLite  # noqa: PLC0415 - only who counts needs it

            return SQLite(Path(store.path))
        from gateway.store.redis import Redis  # noqa: PLC0415 - as above, and 10 MB

        return Redis(
            settings.store_url,
            Path(store.path),
            replica=store.box or socket.gethostname(),
            replicas=store.journals,
        )
    except (StoreRefused, StoreDown) as error:
        raise ConfigError(file, (f"store: {error}",)) from None


def _settings(store: Store) -> RunTime:
    return store.settings()

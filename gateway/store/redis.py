"""The store of replicas on several boxes: Redis 7, or what speaks like it.

Each call is one script (`redis_script`), atomic, by the server's clock; nothing is read and written back from
here. A call whose answer is lost may have counted: exchanges are numbered for that.

A Redis without an epoch has lost what it knew, or is new. Then no exchange is taken, quotas are served from
leases and then refused, until as many replicas as are configured have told it again what they know
(`Journal`). The append-only file is assumed, `appendonly yes`: with `appendfsync everysec` a power cut, not a
crash of Redis, may take the last second, and with `always` none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.policy.exchange import Answer, Exchange, Overview, StoreDown, Use, Wanted
from gateway.policy.keys import Key
from gateway.policy.window import window
from gateway.store import redis_script
from gateway.store.journal import KEPT, Journal
from gateway.store.protocol import Settings

ANSWER_S: Final = 1.0
PREFIX: Final = "{infctl}:"
DAY_S: Final = 86_400


class Redis:
    """Used by one thread."""

    def __init__(
        self,
        url: str,
        journal: Path,
        *,
        replica: str,
        replicas: int,
        clock: Callable[[], float] | None = None,
        prefix: str = PREFIX,
    ) -> None:
        """`replica`: this gateway's lasting name; `replicas`: how many there are. `clock`: in place of the
        server's, for tests. Connects when first used. Raises StoreRefused for the journal.
        """
        self._journal = Journal(journal)
        self._replica = replica
        self._replicas = replicas
        self._clock = clock
        self._pre = prefix
        self._generation = -1
        self._noted = ""
        self._known: dict[str, str] = {}
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            single_connection_client=False,
        )

    def exchange(self, given: Exchange) -> Answer:
        words = redis_script.EXCHANGE, msgspec.json.encode(given).decode(), self._now()
        said, epoch = self._run(*words)
        if epoch != self._noted:
            # Asked again once it is noted: what is told to an emptied Redis from now on shuts this epoch out.
            self._journal.note(epoch)
            self._noted = epoch
            said, epoch = self._run(*words)
        answer = msgspec.json.decode(said, type=Answer)
        self._journal.write(given, answer, epoch)
        return answer

    def wanted(self, worker: str) -> tuple[Wanted, ...]:
        said = self._run(redis_script.WANTED, worker, self._now())
        return msgspec.json.decode(said, type=tuple[Wanted, ...])

    def generation(self) -> int:
        """Also keeps a copy of what changed, for a Redis that forgets."""
        with self._words():
            found = int(self._redis.hget(self._pre + "meta", "generation") or 0)
        if found != self._generation:
            self._journal.keep(self.settings())
            self._generation = found
        return found

    def settings(self) -> Settings:
        with self._words(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hget(self._pre + "meta", "generation")
            pipe.hgetall(self._pre + "figures")
            pipe.hgetall(self._pre + "keys")
            generation, figures, keys = pipe.execute()
        records = [msgspec.json.decode(keys[name], type=Key) for name in sorted(keys)]
        return Settings(int(generation or 0), figures, tuple(records))

    def put_figures(self, scope: str, said: str | None) -> int:
        return self._change("figures", scope, said)

    def put_key(self, key: Key) -> int:
        return self._change("keys", key.id, msgspec.json.encode(key).decode())

    def drop_key(self, key_id: str) -> int:
        return self._change("keys", key_id, None)

    def change(
        self, generation: int, figures: Mapping[str, str | None], keys: Mapping[str, Key | None]
    ) -> int | None:
        records = {
            key_id: None if key is None else msgspec.json.encode(key).decode() for key_id, key in keys.items()
        }
        given = [generation, list(figures.items()), list(records.items())]
        found = int(self._run(redis_script.CHANGE, json.dumps(given)))
        if found < 0:
            return None
        self._journal.keep(self.settings())
        return found

    def put_used(self, used: Mapping[str, float]) -> None:
        if used:
            self._run(redis_script.USED, json.dumps(list(used.items())))

    def used(self) -> Mapping[str, float]:
        with self._words():
            found = self._redis.hgetall(self._pre + "used")
        return {str(key_id): float(at_s) for key_id, at_s in found.items()}

    def reset(self, counter: str) -> None:
        self._run(redis_script.RESET, counter, self._now())

    def overview(self, prefix: str = "") -> Sequence[Overview]:
        said = self._run(redis_script.OVERVIEW, prefix, self._now())
        found = [Overview(*one) for one in msgspec.json.decode(said)]
        return sorted(found, key=lambda one: (one.counter, one.period))

    def usage(
        self,
        since: str,
        until: str,
        tenant: str | None = None,
        *,
        after: tuple[str, str, str] = ("", "", ""),
        most: int | None = None,
    ) -> Sequence[Use]:
        found: list[Use] = []
        for day in self._days(max(since, after[0]), until):
            if most is not None and len(found) >= most:
                break
            sums: dict[tuple[str, str], dict[str, int]] = {}
            with self._words():
                fields = self._redis.hgetall(f"{self._pre}u:{day}")
            for field, value in fields.items():
                who, model = json.loads(str(field)[1:])
                sums.setdefault((who, model), {})[str(field)[0]] = int(value)
            found += [
                Use(day, who, model, *(sums[who, model].get(name, 0) for name in "rpcu"))
                for who, model in sorted(sums)
                if tenant in {None, who} and (day, who, model) > after
            ]
        return found[:most]

    def clock_s(self) -> float:
        if self._clock is not None:
            return self._clock()
        with self._words():
            seconds, microseconds = self._redis.time()
        return float(seconds) + microseconds / 1e6

    def close(self) -> None:
        self._redis.close()
        self._journal.close()

    # --- inside ---

    def _now(self) -> str:
        return "" if self._clock is None else repr(self._clock())

    def _run(self, script: str, *words: str) -> Any:
        """One script. Where the epoch is missing, contributes, and tries once more. Raises StoreDown."""
        with self._words():
            try:
                return self._script(script, *words)
            except redis.ResponseError as error:
                if not str(error).startswith(redis_script.NO_EPOCH):
                    raise
            self._contribute()
            return self._script(script, *words)

    def _script(self, script: str, *words: str) -> Any:
        key = self._pre + "meta"
        if script not in self._known:
            self._known[script] = str(self._redis.script_load(script))
        try:
            return self._redis.evalsha(self._known[script], 1, key, *words)
        except redis.exceptions.NoScriptError:
            return self._redis.eval(script, 1, key, *words)

    def _contribute(self) -> None:
        """Tells a Redis that knows nothing what this replica knows. Raises StoreDown until all have."""
        seconds = self._redis.time()[0] if self._clock is None else self._clock()
        oldest = window("day", max(0.0, float(seconds) - KEPT * DAY_S)).period
        rows, settings = self._journal.contribution(oldest)
        said = [self._replica, self._replicas, uuid4().hex, rows, settings]
        count = self._script(redis_script.CONTRIBUTE, json.dumps(said))
        if count != "open":
            raise StoreDown(
                f"Redis has lost its counts, or is new: {count} of {self._replicas} replicas have told it"
                " what they know, and until all have no quota is granted"
            )

    def _change(self, table: str, name: str, said: str | None) -> int:
        with self._words(), self._redis.pipeline(transaction=True) as pipe:
            if said is None:
                pipe.hdel(self._pre + table, name)
            else:
                pipe.hset(self._pre + table, name, said)
            pipe.hincrby(self._pre + "meta", "generation", 1)
            generation = int(pipe.execute()[-1])
        self._journal.keep(self.settings())
        return generation

    def _days(self, since: str, until: str) -> Iterator[str]:
        """Days that have usage, within both."""
        with self._words():
            keys = self._redis.scan_iter(match=f"{self._pre}u:*", count=1000)
            days = sorted(str(key).rpartition(":")[2] for key in keys)
        return (day for day in days if since <= day <= until)

    @contextmanager
    def _words(self) -> Iterator[None]:
        """The one edge where the client's errors end."""
        try:
            yield
        except redis.RedisError as error:
            raise StoreDown(f"Redis: {error}") from error

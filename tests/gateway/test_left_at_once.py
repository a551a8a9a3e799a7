"""A client that goes before the first step of its request was taken is counted as every other that goes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import orjson
import pytest
import yaml

from gateway import app, metrics
from gateway.log import Journal
from gateway.net.connection import Connection
from gateway.settings import read_settings
from tests.gateway.test_slots import config

CALL = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-request-id: mine\r\ncontent-length: 5\r\n\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n"
LEFT = ("10.1.2.3", "other", "", "client_gone", "client_closed_request")


class Transport(asyncio.Transport):
    def get_extra_info(self, name, default=None):
        return ("10.1.2.3", 4) if name == "peername" else default

    def is_closing(self):
        return True


@pytest.mark.sources
@pytest.mark.parametrize(("request_", "told"), [(CALL, 1), (HEALTH, 0)])
def test_it_is_counted_and_logged(tmp_path: Path, request_: bytes, told: int) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(config(hedging=False, waiting=3) | {"log": {}}))
    reading, writing = os.pipe()

    async def main() -> dict[metrics.Labels, metrics.Counter]:
        settings = read_settings(file, {})
        live, server = app._assemble(settings, Journal(settings.config.log, lambda: 0.0, writing), 0.0)
        server.loop = asyncio.get_running_loop()
        server.opened = lambda _: True  # type: ignore[method-assign]
        connection = Connection(server)
        connection.connection_made(Transport())
        connection.data_received(request_)
        assert server.active == 1
        connection.connection_lost(None)  # no round of the loop in between
        await asyncio.sleep(0)
        assert server.active == 0
        live.journal.close()
        return live.metrics._counters[metrics.REQUESTS]

    counted = asyncio.run(main())
    os.close(writing)
    lines = [orjson.loads(line) for line in os.read(reading, 65_536).splitlines()]
    os.close(reading)
    assert {labels: counter.value for labels, counter in counted.items()} == ({LEFT: 1} if told else {})
    assert [(line["client_request_id"], line["outcome"], line["status"]) for line in lines] == (
        [("mine", "client_gone", 499)] * told
    )

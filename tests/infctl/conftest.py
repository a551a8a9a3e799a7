"""Fixtures of several rooms."""

from tests.infctl.bench.conftest import own_stub, stub

__all__ = ["own_stub", "stub"]

"""What no single field can see. Pure: a profile -> a finding for each thing that does not hold together.

names       names and services used twice, tasks that exclude each other
placement   sources, GPUs, replicas, memory
edges       ports, TLS, keys, tenants, stores
arguments   extra_args and env that the plan or the secrets own
containers  what Docker cannot do
runtime     what the chosen runtime has no use for (warnings, and images without Docker)
"""

from __future__ import annotations

from collections.abc import Iterator

from infctl.profile.check import arguments, containers, edges, names, placement, runtime
from infctl.profile.check.finding import Finding
from infctl.profile.schema import Profile


def problems_of(profile: Profile) -> Iterator[Finding]:
    yield from names.check(profile)
    yield from placement.check(profile)
    yield from arguments.check(profile)
    yield from edges.check(profile)
    yield from containers.check(profile)
    yield from runtime.check(profile)


def warnings_of(profile: Profile) -> Iterator[Finding]:
    yield from placement.warn(profile)
    yield from edges.warn(profile)
    yield from runtime.warn(profile)

"""Stack and profile -> the files a person may read. Pure, but for templates and sources of our own package.

Of processes: nginx.conf, gateway.yaml, supervisor.json. Of containers: the two Compose files, and what their
services mount (gateway/, nginx/, engine/, prometheus/, grafana/), the gateway image's sources, .env.example.

Equal input gives equal bytes; keys are never in them, only the names of their variables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from infctl.errors import Where, nowhere
from infctl.plan import Plan
from infctl.profile.documented import Documented
from infctl.profile.schema import Profile
from infctl.render import (
    compose,
    engine_files,
    env_example,
    gateway,
    gateway_image,
    grafana,
    nginx,
    prometheus,
    supervisor,
)
from infctl.render.files import RenderedFile
from infctl.stack import Layout, Stack
from infctl.stack.names import Names

__all__ = ["RenderedFile", "render"]


def render(
    stack: Stack,
    profile: Profile,
    plan: Plan,
    layout: Layout,
    *,
    http3: bool = False,
    variables: Sequence[Documented] = (),
    rules_scale: float = 1.0,
    where: Where = nowhere,
) -> tuple[RenderedFile, ...]:
    """In the order they should be read.

    `http3`: nginx can serve it (`infctl.stack.build.serves_http3`). `variables`: what .env.example explains
    (`infctl.profile.documented`). `rules_scale`: of every duration in alert rules,
    for tests. Raises ProfileError with the place in the
    profile of a value that cannot go where it is meant to.
    """
    files = [gateway.render(stack, profile, plan, layout)]
    if profile.edge.enabled:
        files += nginx.render(profile, layout, http3=http3, where=where)
    if stack.runtime == "process":
        return (*files, supervisor.render(stack, layout, files))
    example = env_example.render(profile.name, variables)
    mounted = _mounted(stack, profile, plan, layout, rules_scale)
    return (*_composed(stack, profile), example, *files, *mounted)


_ABOUT = (
    "The platform: engines, the gateway, nginx. Needs .env beside it: cp .env.example .env",
    "The monitoring: joins the platform's network, so start docker-compose.yml first.",
)


def _composed(stack: Stack, profile: Profile) -> Iterator[RenderedFile]:
    for project, about in zip(stack.projects, _ABOUT, strict=False):
        yield compose.render(project, profile.name, about)


def _mounted(
    stack: Stack, profile: Profile, plan: Plan, layout: Layout, rules_scale: float
) -> Iterator[RenderedFile]:
    yield from gateway_image.files()
    yield from engine_files.rendered(profile.name, "start.py", "weights.py")
    watching = stack.projects[1] if len(stack.projects) > 1 else None
    if watching is None:
        return
    if profile.monitoring.prometheus.enabled:
        names = Names(profile, layout)
        yield from prometheus.render(stack, profile, plan, names, watching, scale=rules_scale)
    if profile.monitoring.grafana.enabled:
        yield from grafana.render(profile, plan, watching)

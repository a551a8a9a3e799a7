"""Stack and profile -> the files a person may read: nginx.conf, gateway.yaml, supervisor.json. Pure.

Equal input gives equal bytes; keys are never in them, only the names of their variables.
"""

from __future__ import annotations

from infctl.errors import Where, nowhere
from infctl.profile.schema import Profile
from infctl.render import gateway, nginx, supervisor
from infctl.render.files import RenderedFile
from infctl.stack import Layout, Stack

__all__ = ["RenderedFile", "render"]


def render(
    stack: Stack,
    profile: Profile,
    layout: Layout,
    *,
    http3: bool = False,
    where: Where = nowhere,
) -> tuple[RenderedFile, ...]:
    """In the order they should be read.

    `http3`: nginx can serve it (`infctl.stack.build.serves_http3`). Raises ProfileError with the place in the
    profile of a value that cannot go where it is meant to.
    """
    files = [gateway.render(stack, profile, layout)]
    if profile.edge.enabled:
        files.append(nginx.render(profile, layout, http3=http3, where=where))
    files.append(supervisor.render(stack, layout, files))
    return tuple(files)

"""One look at the Docker host: what we have there, and what may be in our way."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from infctl.engine.docker import fields, observed, payload
from infctl.engine.docker.client import Client
from infctl.engine.docker.observed import Seen, Snapshot
from infctl.engine.docker.refusals import Gone, ImageMissing, told

LOOKING = "the Docker host cannot be looked at"


def look(client: Client, projects: Collection[str], images: Iterable[str] = ()) -> Snapshot:
    """`projects`: the names of ours. `images`: those wanted, which may not be there."""
    api = client.api
    with told(LOOKING):
        listed = api.containers(all=True)
        networks = api.networks()
        volumes = api.volumes().get("Volumes") or ()
    ours, strangers = [], []
    for one in listed:
        labels = one.get("Labels") or {}
        if labels.get(payload.PROJECT) in projects:
            ours.append(one["Id"])
        else:
            strangers.append(observed.stranger(one))
    containers = _all_seen(api, ours)
    wanted = {*images, *(container.image_id for container in containers)}
    return Snapshot(
        containers=containers,
        strangers=tuple(strangers),
        networks=tuple(observed.network(one) for one in networks),
        volumes=tuple(
            (str(one["Name"]), str((one.get("Labels") or {}).get(payload.PROJECT, ""))) for one in volumes
        ),
        images={image: about for image in sorted(wanted) if (about := _image(api, image)) is not None},
    )


def containers(client: Client, projects: Collection[str]) -> tuple[Seen, ...]:
    """Ours alone, which is quicker."""
    with told(LOOKING):
        listed = client.api.containers(all=True)
    ours = [one["Id"] for one in listed if (one.get("Labels") or {}).get(payload.PROJECT) in projects]
    return _all_seen(client.api, ours)


def _all_seen(api: Any, ids: Iterable[str]) -> tuple[Seen, ...]:
    return tuple(found for container_id in ids if (found := _seen(api, container_id)) is not None)


def _seen(api: Any, container_id: str) -> Seen | None:
    """None: gone since it was listed, or a `docker compose run`."""
    try:
        with told(LOOKING):
            inspect = api.inspect_container(container_id)
    except Gone:
        return None
    if (inspect["Config"].get("Labels") or {}).get(f"{payload.COMPOSE}oneoff", "False") != "False":
        return None
    return observed.seen(inspect)


def _image(api: Any, image: str) -> fields.Brought | None:
    if not image:
        return None
    try:
        with told(LOOKING):
            return fields.brought(api.inspect_image(image))
    except (Gone, ImageMissing):
        return None

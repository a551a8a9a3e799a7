"""Where in a profile a path stands, or the nearest thing around it that a person would look at."""

from __future__ import annotations

from infctl.errors import Location
from infctl.profile.loading import LoadedProfile


def place(loaded: LoadedProfile, path: str) -> Location | None:
    """None: the file says nothing of it, and its first line would mislead."""
    return loaded.where(path) if path and loaded.writes(path.partition("/")[0]) else None

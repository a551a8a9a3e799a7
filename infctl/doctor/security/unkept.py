"""Settings of the profile that this version reads and does not act on yet: nothing there can be looked at."""

from __future__ import annotations

from infctl.profile.enforcement import UNENFORCED


def unkept(path: str) -> str:
    """What happens instead, `path` being a section such as gateway/audit; empty: it is acted on."""
    return UNENFORCED.get(path, "")

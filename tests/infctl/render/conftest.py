"""A fixed machine and fixed folders, so that renders can be compared byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from infctl.gpus import Gpu, for_profile
from infctl.host import Host
from infctl.models.source import for_profile as for_models
from infctl.plan import plan
from infctl.profile.documented import documented
from infctl.profile.loading import LoadedProfile, load
from infctl.render import RenderedFile, render
from infctl.stack import Layout, Stack
from infctl.stack.build import build, serves_http3

ROOT = Path(__file__).resolve().parents[3]
HOST = Host(
    python="/opt/infctl/bin/python",
    nginx="/opt/infctl/nginx",
    env={"HOME": "/home/me", "XDG_CACHE_HOME": ""},
    owner=(1000, 1000),
)
ONE_CARD = Gpu(0, "L4", "GPU-8a1b2c3d-0000-0000-0000-000000000000", int(22.05 * 2**30))
"""What a profile that says `detect` finds."""
SECRETS = frozenset({"GATEWAY_API_KEY", "BACKEND_API_KEY"})


@dataclass(frozen=True)
class Rendered:
    loaded: LoadedProfile
    stack: Stack
    files: tuple[RenderedFile, ...]

    def text(self, name: str) -> str:
        """Of the file of that name, whatever folder it is in."""
        return next(file.text for file in self.files if file.path.rpartition("/")[2] == name)


def render_profile(*profiles: Path) -> Rendered:
    """A profile and its overlays."""
    loaded = load(profiles, {"GATEWAY_API_KEY": "sk-client-key", "BACKEND_API_KEY": "sk-backend-key"})
    name = loaded.profile.name
    base = Path("/srv/platform")
    layout = Layout(base, base / ".infctl" / name, beside=loaded.profile.runtime == "docker")
    gpus = loaded.profile.gpus
    there = (ONE_CARD,) if gpus.kind == "detect" else for_profile(gpus)
    # Carried by infctl, whatever caches and networks there are.
    env = {"HOME": "/nonexistent", "HF_HOME": "/nonexistent/hf"}
    where = loaded.where
    facts = for_models(loaded.profile, folder=ROOT / "profiles", env=env, where=where, offline=True).facts
    made = plan(loaded.profile, there, facts, where=loaded.where)
    stack = build(loaded.profile, made, layout, HOST, secrets=SECRETS, where=loaded.where)
    http3 = serves_http3(loaded.profile, HOST)
    said = documented(loaded)
    files = render(stack, loaded.profile, made, layout, http3=http3, variables=said, where=loaded.where)
    return Rendered(loaded, stack, files)


@pytest.fixture
def rendered() -> Callable[..., Rendered]:
    return render_profile


@pytest.fixture
def profiles() -> Path:
    return ROOT / "profiles"


# crossplane 0.5.8 is older than these directives.
NEWER = {"http2": ({"on"}, {"off"}), "http3": ({"on"},), "keepalive_min_timeout": ({"6s"},)}


def strict_errors(text: str, folder: Path) -> list[str]:
    """What crossplane finds wrong, but for its own gaps: newer directives, entries of a map."""
    import crossplane

    path = folder / "nginx.conf"
    path.write_text(text)
    loose = crossplane.parse(str(path), single=True)
    if loose["status"] != "ok":
        return [error["error"] for error in loose["errors"]]
    excused = set()
    for top in loose["config"][0]["parsed"]:
        for directive in top.get("block", ()):
            if directive["directive"] == "map":
                excused |= {entry["line"] for entry in directive["block"]}
            for inner in (directive, *directive.get("block", ())):
                if set(inner["args"]) in NEWER.get(inner["directive"], ()):
                    excused.add(inner["line"])
    strict = crossplane.parse(str(path), single=True, strict=True)
    return [error["error"] for error in strict["errors"] if error["line"] not in excused]


@pytest.fixture
def nginx_errors(tmp_path: Path) -> Callable[[str], list[str]]:
    return lambda text: strict_errors(text, tmp_path)

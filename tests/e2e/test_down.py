"""Last of its folder: `down` ends the platform the other tests used."""

from __future__ import annotations

import fcntl

from tests.e2e.local import Platform


def test_down_leaves_no_process_socket_or_lock(platform: Platform) -> None:
    assert platform.processes()
    done = platform.run("down", timeout_s=120)
    assert done.returncode == 0, done.stderr
    assert platform.processes() == []
    left = [p for p in platform.home.rglob("*") if p.is_socket() or p.suffix in {".lock", ".pid"}]
    # The audit trail outlives the platform, and so does the file that its writer locks; nobody holds it now.
    trail = [p for p in left if p.parent.name == "audit"]
    for path in trail:
        with path.open("r+b") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    left = [p for p in left if p not in trail]
    assert left == []
    assert platform.run("down").returncode == 0, "down twice is no error"
    assert platform.run("health").returncode == 1

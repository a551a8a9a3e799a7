"""Processes as Linux shows them in /proc: who is alive, whose child it is, who holds a port.

A process is known by its id and its start time together, because ids are reused. What belongs to a service is
known by two variables every descendant inherits (`INFCTL_STACK`, `INFCTL_SERVICE`), by its session, and, for
programs that overwrite their environment with a title (nginx), by the command line of the session's leader.

Imports little: the supervisor lives on it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

STACK_VARIABLE = "INFCTL_STACK"
"""Its value is the absolute home folder of the platform."""
SERVICE_VARIABLE = "INFCTL_SERVICE"
SUPERVISOR = "@supervisor"
"""The service name the supervisors themselves carry."""


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/PID/stat. `start_ticks` counts clock ticks since boot."""

    pid: int
    state: str
    parent: int
    session: int
    start_ticks: int

    @property
    def is_alive(self) -> bool:
        """A zombie is dead: only its parent has not asked yet."""
        return self.state not in "ZX"


@dataclass(frozen=True, slots=True)
class Identity:
    """Survives in files; after a reboot or when the id was reused it matches nobody."""

    pid: int
    start_ticks: int
    exe: str = ""
    """What the leader ran: tells its orphans from strangers once it is gone."""


def boot_id() -> str:
    return _read("/proc/sys/kernel/random/boot_id").decode().strip()


def since_boot_s(start_ticks: int) -> float:
    """On CLOCK_BOOTTIME."""
    return start_ticks / os.sysconf("SC_CLK_TCK")


def look(pid: int) -> Process | None:
    """The process with this id, or None if there is none."""
    raw = _read(f"/proc/{pid}/stat")
    # The command name is in brackets and may itself hold brackets and spaces.
    fields = raw[raw.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    return Process(
        pid=pid,
        state=fields[0].decode(),
        parent=int(fields[1]),
        session=int(fields[3]),
        start_ticks=int(fields[19]),
    )


def is_running(identity: Identity) -> bool:
    found = look(identity.pid)
    return found is not None and found.is_alive and found.start_ticks == identity.start_ticks


def identify(pid: int) -> Identity | None:
    found = look(pid)
    return None if found is None else Identity(pid, found.start_ticks, exe_of(pid))


def exe_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def command_line(pid: int) -> str:
    """As a person would type it; empty for processes that are gone."""
    return _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode("utf-8", "replace").strip()


def environment(pid: int) -> dict[str, str]:
    """Empty where it cannot be read (another user's) or was overwritten."""
    pairs = (item.partition(b"=") for item in _read(f"/proc/{pid}/environ").split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, sep, value in pairs if sep}


def pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def marked(home: str) -> dict[int, str]:
    """Process id -> service name, of all living processes that carry this home's mark."""
    needle = os.fsencode(f"{STACK_VARIABLE}={home}")
    found = {}
    for pid in pids():
        items = _read(f"/proc/{pid}/environ").split(b"\0")
        if needle not in items:
            continue
        process = look(pid)
        prefix = os.fsencode(f"{SERVICE_VARIABLE}=")
        service = next((i[len(prefix) :] for i in items if i.startswith(prefix)), b"")
        if process is not None and process.is_alive:
            found[pid] = os.fsdecode(service)
    return found


def members(home: str, service: str, leader: Identity | None, argv: Sequence[str] = ()) -> list[Process]:
    """All living processes of one service: by mark, by the leader's session, by a leader's own argv.

    `argv` is searched for only where it names `home`, so that it cannot fit a stranger.
    """
    by_mark = marked(home)
    joined = " ".join(argv)
    searched = joined.encode() if home in joined else b""
    found = []
    for pid in pids():
        process = look(pid)
        if process is None or not process.is_alive or pid == os.getpid():
            continue
        if by_mark.get(pid) == service:
            found.append(process)
        elif pid in by_mark or not _may_be_ours(pid):
            continue
        elif _is_of(process, leader) or (
            searched and process.session == pid and searched in os.fsencode(command_line(pid))
        ):
            found.append(process)
    return found


def _is_of(process: Process, leader: Identity | None) -> bool:
    """Whether it is the leader, or of its session and its program."""
    if leader is None or process.session != leader.pid:
        return False
    now = look(leader.pid)
    if now is not None:
        # Else the id was given to another, whose session this is.
        return now.start_ticks == leader.start_ticks
    # The leader is gone, and with it the proof that the session is its own: the program must fit too.
    return process.start_ticks >= leader.start_ticks and exe_of(process.pid) == leader.exe != ""


def send(identity_or_process: Identity | Process, signum: signal.Signals) -> bool:
    """Signal exactly this process; False if it is gone. A pidfd makes sure that a reused id is never hit."""
    try:
        fd = os.pidfd_open(identity_or_process.pid)
    except OSError:
        return False
    try:
        found = look(identity_or_process.pid)
        if found is None or found.start_ticks != identity_or_process.start_ticks:
            return False
        signal.pidfd_send_signal(fd, signum)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def send_group(leader: Identity, signum: signal.Signals) -> bool:
    """Signal the leader's whole process group; False if the leader is gone."""
    if not is_running(leader):
        return False
    try:
        os.killpg(leader.pid, signum)
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Listener:
    address: str
    port: int
    inode: int


def listeners() -> list[Listener]:
    """Every listening TCP socket of this network namespace."""
    found = []
    for path, width in (("/proc/net/tcp", 8), ("/proc/net/tcp6", 32)):
        for line in _read(path).decode().splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == "0A":
                address, _, port = fields[1].partition(":")
                found.append(Listener(_address(address[:width]), int(port, 16), int(fields[9])))
    return found


def holder_of(inode: int) -> int | None:
    """The process that has this socket open; None if it belongs to another user."""
    wanted = f"socket:[{inode}]"
    for pid in pids():
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}") == wanted:
                    return pid
        except OSError:
            continue
    return None


def _address(hexed: str) -> str:
    """/proc prints each 32-bit word in the machine's (little endian) order."""
    words = [bytes.fromhex(hexed[i : i + 8])[::-1] for i in range(0, len(hexed), 8)]
    raw = b"".join(words)
    if len(raw) == 4:
        return ".".join(str(b) for b in raw)
    if raw[:12] == b"\0" * 10 + b"\xff\xff":
        return ".".join(str(b) for b in raw[12:])
    if raw == b"\0" * 16:
        return "::"
    if raw == b"\0" * 15 + b"\x01":
        return "::1"
    return ":".join(raw[i : i + 2].hex() for i in range(0, 16, 2))


def _may_be_ours(pid: int) -> bool:
    """Another user's process is not, unless we are root: then nginx gives its workers to `nobody`."""
    own = os.getuid()
    try:
        return own == 0 or os.stat(f"/proc/{pid}").st_uid == own
    except OSError:
        return False


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""

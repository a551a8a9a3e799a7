"""From whatever was raised to an exit code: the one edge where exceptions end.

InfctlError          its own code
a usage error        64
Ctrl-C              130
closed output         0, without a word
a full disk           5, likewise one that may not be written
anything else        70, with a report in a file instead of a traceback on the screen
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from infctl import __version__
from infctl.cli import console
from infctl.errors import EngineError, InfctlError, InternalError, Interrupted, UsageError


def guarded(command: Callable[[], int], argv: Sequence[str]) -> int:
    """Run `command` and answer with the process's exit code, having printed what went wrong."""
    from typer import Abort, TyperException

    try:
        code = command()
        # Typer turns a Ctrl-C that nobody caught into its bare exit code.
        return _told(Interrupted("interrupted")) if code == Interrupted.exit_code else code
    except console.ReaderGoneError:
        return 0
    except InfctlError as failure:
        return _told(failure)
    except TyperException as problem:
        return _told(_usage(problem))
    except (KeyboardInterrupt, Abort):
        return _told(Interrupted("interrupted"))
    except OSError as fault:
        return _told(_disk(fault) or _internal(fault, argv))
    except Exception as fault:  # noqa: BLE001 - this is the edge
        return _told(_internal(fault, argv))


def _told(failure: InfctlError) -> int:
    with contextlib.suppress(console.ReaderGoneError):
        console.error(failure)
    return failure.exit_code


def _usage(problem: Exception) -> UsageError:
    context = getattr(problem, "ctx", None)
    command = context.command_path if context is not None else "infctl"
    message = getattr(problem, "format_message", problem.__str__)().rstrip(".")
    return UsageError(message[:1].lower() + message[1:], hint=f"see: {command} --help")


_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


def _disk(fault: OSError) -> EngineError | None:
    """A full or read-only disk, or rights that are missing: no fault of ours, whichever file it met."""
    if fault.errno not in _DISK:
        return None
    where = f"{fault.filename}: " if fault.filename else ""
    return EngineError(
        f"{where}{fault.strerror}", hint="check the owner, the rights and the free space of that folder"
    )


def _internal(fault: Exception, argv: Sequence[str]) -> InternalError:
    text = "".join(traceback.format_exception(fault))
    if os.environ.get("INFCTL_DEBUG"):
        console.say(text)
    what = f"{type(fault).__name__}: {fault}".splitlines()[0][:200]
    saved = _report(text, argv)
    where = f"a report is in {saved}" if saved else "no report could be written"
    return InternalError(
        f"a fault in infctl itself: {what}",
        hint=f"{where}\nINFCTL_DEBUG=1 prints the traceback",
    )


def _report(text: str, argv: Sequence[str]) -> Path | None:
    """Written for the maintainers: versions, the command, the traceback. Readable by its owner alone."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    file = state / "infctl" / "reports" / f"{stamp}-{os.getpid()}.txt"
    head = (
        f"infctl {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"command: infctl {' '.join(argv)}\n\n"
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(head + text, encoding="utf-8")
    except OSError:
        return None
    return file

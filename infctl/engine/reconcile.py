"""What to do so that what runs becomes what is wanted, and why. Pure: `reconcile(stack, observed)`.

    observed                     action
    nobody watches               supervise
    not there, stopped, failed   start
    there, not in the stack      remove
    argv, env, secret, file      replace
    file that a reload reads     reload

The cause of each action is in the words of whoever wrote the profile; `describe` prints the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from infctl.engine import codec
from infctl.engine.model import Action, Observed, ObservedService
from infctl.errors import EngineError
from infctl.stack import ConfigFile, Service, Stack

SIGNS = {"create": "+", "start": "+", "replace": "~", "reload": "↻", "remove": "-", "supervise": "!"}
SHOWN_MAX = 60
"""Characters of a value that a cause shows."""


def reconcile(
    stack: Stack, observed: Observed, secret_digests: Mapping[str, str] | None = None
) -> tuple[Action, ...]:
    """Nothing to do is an empty tuple. `secret_digests`: name -> digest; None: not looked at."""
    actions = [_for_service(s, observed.service(s.name), secret_digests) for s in stack.services]
    wanted = {s.name for s in stack.services}
    gone = [
        Action("remove", o.name, "no longer in the profile")
        for o in observed.services
        if o.name not in wanted
    ]
    watch = []
    if not observed.supervised and any(_is_alive(o) for o in observed.services):
        watch = [Action("supervise", "", "nobody watches the services")]
    return (*watch, *gone, *(a for a in actions if a is not None))


def describe(actions: Sequence[Action]) -> str:
    """One line an action: sign, service, kind, cause. Empty for an empty plan."""
    width = max((len(a.service) for a in actions), default=0)
    lines = (f"{SIGNS[a.kind]} {a.service:<{width}}  {a.kind:<9}  {a.cause}" for a in actions)
    return "\n".join(lines)


def check_order(stack: Stack) -> None:
    """Raises EngineError if `after` goes in a circle: such services would wait for ever."""
    services: dict[str, Service] = {s.name: s for s in stack.services}
    started: set[str] = set()
    while len(started) < len(services):
        free = {
            name
            for name, s in services.items()
            if name not in started and all(a in started or a not in services for a in s.after)
        }
        if not free:
            waiting = ", ".join(sorted(services.keys() - started))
            raise EngineError(f"services wait for each other in a circle: {waiting}")
        started |= free


def _for_service(
    wanted: Service, found: ObservedService | None, digests: Mapping[str, str] | None
) -> Action | None:
    if found is None or found.state == "stopped":
        return Action("start", wanted.name, "not running")
    if found.state == "failed":
        return Action("start", wanted.name, f"failed before: {found.last_exit or 'it was given up'}")
    if found.running is None:
        return Action("replace", wanted.name, "it is not known from what it was started")
    causes = tuple(_causes(wanted, found, found.running, digests))
    if causes:
        return Action("replace", wanted.name, ", ".join(causes))
    changed = [f.path for f in _changed_files(wanted, found.running) if codec.reloads(wanted, f)]
    if changed:
        return Action("reload", wanted.name, ", ".join(f"{_leaf(path)} changed" for path in changed))
    return None


def _causes(
    wanted: Service, found: ObservedService, running: Service, digests: Mapping[str, str] | None
) -> Iterator[str]:
    yield from argv_changes(running.argv, wanted.argv)
    yield from env_changes(dict(running.env), dict(wanted.env))
    if running.gpu != wanted.gpu:
        yield f"GPU {running.gpu or 'none'} -> {wanted.gpu or 'none'}"
    for file in _changed_files(wanted, running):
        if not codec.reloads(wanted, file):
            yield f"{_leaf(file.path)} changed"
    for variable in sorted(set(running.secret_env) ^ set(wanted.secret_env)):
        yield f"secret {variable[0]} {'added' if variable in wanted.secret_env else 'removed'}"
    if digests is not None:
        before = dict(found.secret_digests)
        for name in dict.fromkeys(name for _, name in wanted.secret_env):
            if name in before and before[name] != digests.get(name):
                yield f"secret {name} changed"


def argv_changes(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """`--max-model-len 2048 -> 4096`, `--enforce-eager added`, `--dtype float32 removed`."""
    if tuple(before) == tuple(after):
        return
    head_before, flags_before = _split(before)
    head_after, flags_after = _split(after)
    said = False
    if head_before != head_after:
        said = True
        yield f"{_short(' '.join(head_before))} -> {_short(' '.join(head_after))}"
    for flag in dict.fromkeys([*flags_before, *flags_after]):
        old, new = flags_before.get(flag), flags_after.get(flag)
        if old == new:
            continue
        said = True
        if new is None:
            yield f"{_flag(flag, old or '')} removed"
        elif old is None:
            yield f"{_flag(flag, new)} added"
        else:
            yield f"{flag} {_short(old) or '(no value)'} -> {_short(new) or '(no value)'}"
    if not said:
        yield "the order of its arguments"


def _split(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The words before the first `--flag`, and the flags with their values; a repeated flag's are joined."""
    head: list[str] = []
    flags: dict[str, list[str]] = {}
    flag = ""
    for word in argv:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            flags.setdefault(flag, []).extend([value] if equals else [])
        elif flag:
            flags[flag].append(word)
        else:
            head.append(word)
    return head, {flag: " ".join(values) for flag, values in flags.items()}


def env_changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """`X=y added`, `X 1 -> 2`, `X removed`."""
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if new is None:
            yield f"{name} removed"
        elif old is None:
            yield f"{name}={_short(new)} added"
        else:
            yield f"{name} {_short(old)} -> {_short(new)}"


def _changed_files(wanted: Service, running: Service) -> Iterator[ConfigFile]:
    before = {f.path: f.sha256 for f in running.files}
    now = {f.path for f in wanted.files}
    yield from (f for f in wanted.files if before.get(f.path) != f.sha256)
    yield from (f for f in running.files if f.path not in now)


def _is_alive(found: ObservedService) -> bool:
    return found.pid is not None


def _flag(flag: str, value: str) -> str:
    return f"{flag} {_short(value)}".rstrip()


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 1]}…"


def _leaf(path: str) -> str:
    return path.rpartition("/")[2]

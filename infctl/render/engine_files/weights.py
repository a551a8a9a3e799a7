"""Fetches models from the hub into the cache that engines load from; what is complete is not asked for again.

    python3 weights.py --cache DIR [--token-file FILE] [--tokenizer REPO]... [--again] REPO...

REPO is `org/name` or `org/name@revision`. Before anything is fetched it says how much, and how much space is
free; then a line every few seconds. Files that are whole stay when it is interrupted: starting it again goes
on from there. Exit codes: 0 all is there; 1 the hub could not be reached, or broke off; 2 usage; 3 the hub
refuses; 4 there is no such model or revision; 5 the disk is too small or may not be written.

Runs in the engines' image, which has huggingface_hub; nothing else is needed, and not even that when all is
there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from types import FrameType
from typing import Any

UNREACHABLE, REFUSED, MISSING, DISK = 1, 3, 4, 5
TRIES = 5
PAUSE_S = 4.0
"""Before the second try; doubled before each further one."""
SPARE_BYTES = 2**30
"""Left free on the disk."""
AT_ONCE = 4
"""Files. One that is cut off begins anew, so not too many."""
STALE_S = 60.0
"""A part that nothing was written to for so long belongs to no download that runs."""
TOKEN_BYTES_MAX = 4096
BOOK = "infctl.json"
"""In a model's folder of the cache: which revisions are complete, and of what files."""

WEIGHTS = (
    "*.safetensors",
    "*.bin",
    "*.pt",
    "*.pth",
    "*.gguf",
    "*.h5",
    "*.msgpack",
    "*.ot",
    "*.onnx",
    "*.onnx_data",
)
OTHER_FORMATS = WEIGHTS[1:]
"""Left out where there are safetensors: the same weights once more."""
NEVER = ("original/*", "onnx/*", "openvino/*", "*.tflite", "*.mlmodel", ".git*")


class StopError(Exception):
    """Why it cannot go on, what to do, and the exit code."""

    def __init__(self, code: int, why: str, do: str) -> None:
        super().__init__(why)
        self.code = code
        self.do = do


@dataclass(frozen=True)
class Repo:
    """A revision of a model in the cache."""

    cache: Path
    name: str
    revision: str
    tokenizer: bool = False
    """Without weights."""

    @property
    def folder(self) -> Path:
        return self.cache / "hub" / ("models--" + self.name.replace("/", "--"))

    @property
    def key(self) -> str:
        return f"{self.revision} (tokenizer)" if self.tokenizer else self.revision

    def __str__(self) -> str:
        return f"{self.name}@{self.revision[:12]}"

    def complete(self) -> bool:
        """As the book says, if the files say so too."""
        known = book(self.folder).get(self.key)
        files = known.get("files") if isinstance(known, dict) else None
        if not isinstance(known, dict) or not isinstance(files, dict) or not files:
            return False
        return not self.lacking(str(known.get("commit")), files)

    def lacking(self, commit: str, files: Mapping[str, int]) -> dict[str, int]:
        """The files that are not there in their whole size."""
        snapshot = self.folder / "snapshots" / commit
        return {name: size for name, size in files.items() if size_of(snapshot / name) != size}

    def looks_complete(self) -> bool:
        """Without the hub or the book: a cache that somebody brought along."""
        commit = text_of(self.folder / "refs" / self.revision).strip() or self.revision
        snapshot = self.folder / "snapshots" / commit
        names = {path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()}
        if self.tokenizer:
            return bool(names & {"tokenizer.json", "tokenizer.model", "vocab.json"})
        if "config.json" not in names:
            return False
        index = parsed(text_of(snapshot / "model.safetensors.index.json")).get("weight_map")
        if isinstance(index, dict):
            return set(index.values()) <= names
        return any(fnmatch(name, pattern) for name in names for pattern in WEIGHTS)

    def remember(self, commit: str, files: Mapping[str, int]) -> None:
        known = {**book(self.folder), self.key: {"commit": commit, "files": dict(files)}}
        part = self.folder / f"{BOOK}.part"
        try:
            part.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")
            part.replace(self.folder / BOOK)
        except OSError as error:
            say(f"{self}: not remembered ({error.strerror}), so the hub is asked again next time")


@dataclass(frozen=True)
class Listing:
    """What the hub has of a revision, as far as an engine loads it."""

    repo: Repo
    commit: str
    files: Mapping[str, int]

    @property
    def missing(self) -> dict[str, int]:
        return self.repo.lacking(self.commit, self.files)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="weights.py", description="Fetches models into the cache.")
    parser.add_argument("--cache", required=True, type=Path, help="the folder that is HF_HOME of the engines")
    parser.add_argument("--token-file", type=Path, help="the hub's token; no such file: none")
    parser.add_argument("--tokenizer", action="append", default=[], help="a REPO without its weights")
    parser.add_argument("--again", action="store_true", help="ask the hub for what is complete, too")
    parser.add_argument("--every-s", type=float, default=10.0, help="seconds between two lines of progress")
    parser.add_argument("--pause-s", type=float, default=PAUSE_S, help="seconds before the second try")
    parser.add_argument("repos", nargs="*", metavar="REPO")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, leave)
    try:
        wanted = [repo(options.cache, text) for text in options.repos]
        wanted += [repo(options.cache, text, tokenizer=True) for text in options.tokenizer]
        missing = []
        for one in wanted:
            if one.complete() and not options.again:
                say(f"{one}: complete")
            else:
                missing.append(one)
        if missing:
            Fetch(options.cache, token(options.token_file), options.every_s, options.pause_s).all(missing)
    except StopError as stop:
        say(f"error: {stop}")
        say(f"  {stop.do}")
        return stop.code
    return 0


@dataclass
class Fetch:
    """One run with the hub."""

    cache: Path
    token: str | None
    every_s: float
    pause_s: float

    def all(self, repos: Sequence[Repo]) -> None:
        """Raises StopError."""
        os.environ.pop("HF_HUB_OFFLINE", None)
        os.environ |= {
            "HF_HOME": str(self.cache),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        listings = [found for one in repos if (found := self.listed(one)) is not None]
        wanted = sum(sum(each.missing.values()) for each in listings)
        for each in listings:
            sweep(each.repo.folder / "blobs")
        self.space(wanted)
        for each in listings:
            if lacking := each.missing:
                say(f"{each.repo}: {gib(sum(lacking.values()))} in {len(lacking)} of {len(each.files)} files")
                with self.progress(each, sum(lacking.values())):
                    self.tried(each.repo, lambda each=each: self.fetched(each))
            if short := each.missing:
                name = next(iter(short))
                raise StopError(UNREACHABLE, f"{each.repo}: {name} is not whole", "start it again")
            each.repo.remember(each.commit, each.files)
            say(f"{each.repo}: complete")

    def listed(self, repo: Repo) -> Listing | None:
        """None: the hub cannot be reached, and what is here looks complete."""
        try:
            info = self.tried(repo, lambda: self.asked(repo))
        except StopError as stop:
            if stop.code == UNREACHABLE and repo.looks_complete():
                say(f"{repo}: {stop}; what is here looks complete and is taken")
                return None
            raise
        sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or ()}
        return Listing(
            repo, str(info.sha), {name: sizes[name] for name in loaded(sizes, tokenizer=repo.tokenizer)}
        )

    def asked(self, repo: Repo) -> Any:
        from huggingface_hub import HfApi  # noqa: PLC0415 - a second, when all is there for nothing

        return HfApi(token=self.token).model_info(
            repo.name, revision=repo.revision, files_metadata=True, timeout=30.0
        )

    def fetched(self, listing: Listing) -> None:
        from huggingface_hub import snapshot_download  # noqa: PLC0415

        snapshot_download(
            listing.repo.name,
            revision=listing.repo.revision,
            cache_dir=self.cache / "hub",
            allow_patterns=list(listing.files),
            token=self.token,
            max_workers=AT_ONCE,
        )

    def tried(self, repo: Repo, what: Any) -> Any:
        """Its answer; tried again where that may help. Raises StopError."""
        pause_s = self.pause_s
        for number in range(1, TRIES + 1):
            try:
                return what()
            except Exception as error:  # noqa: BLE001 - of every release of the library; each ends as a message
                stop = understood(error, repo, token=self.token is not None)
                if stop.code != UNREACHABLE or number == TRIES:
                    raise stop from None
                say(f"{repo}: {stop}; try {number + 1} of {TRIES} in {pause_s:g} s")
                time.sleep(pause_s)
                pause_s *= 2
        raise AssertionError

    def space(self, wanted: int) -> None:
        free = shutil.disk_usage(self.cache).free
        say(f"{gib(wanted)} to fetch, {gib(free)} free in {self.cache}")
        if wanted + SPARE_BYTES > free:
            raise StopError(
                DISK,
                f"{gib(wanted + SPARE_BYTES - free)} too little space",
                "free some, or name a folder on a larger disk: `engines.cache` in the profile",
            )

    @contextlib.contextmanager
    def progress(self, listing: Listing, wanted: int) -> Iterator[None]:
        """A line every few seconds, told by what lies on the disk."""
        done, blobs = threading.Event(), listing.repo.folder / "blobs"
        before, began = on_disk(blobs), time.monotonic()

        def tell() -> None:
            while not done.wait(self.every_s):
                got, took = on_disk(blobs) - before, time.monotonic() - began
                left = f", {minutes((wanted - got) * took / got)} left" if 0 < got < wanted else ""
                say(f"{listing.repo}: {gib(got)} of {gib(wanted)}, {got / took / 2**20:.0f} MiB/s{left}")

        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def loaded(names: Sequence[str] | Mapping[str, int], *, tokenizer: bool) -> list[str]:
    """Of a repository's files, those an engine may read."""

    def matches(name: str, patterns: Sequence[str]) -> bool:
        return any(fnmatch(name, pattern) for pattern in patterns)

    left_out = list(NEVER)
    if tokenizer:
        left_out += WEIGHTS
    elif any(name.endswith(".safetensors") and not matches(name, NEVER) for name in names):
        left_out += OTHER_FORMATS
    return sorted(name for name in names if not matches(name, left_out))


def understood(error: Exception, repo: Repo, *, token: bool) -> StopError:
    """The one ladder from what the library raises to what a person reads."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, StopError):
        return error
    if "GatedRepoError" in kinds or status == 403:
        do = f"accept its licence on the page of {repo.name}, with the account that HF_TOKEN belongs to"
        return StopError(
            REFUSED, f"{repo.name} is gated", do if token else f"{do}, and put HF_TOKEN into .env"
        )
    if "RevisionNotFoundError" in kinds:
        return StopError(
            MISSING, f"{repo.name} has no revision {repo.revision}", "correct `revision` in the profile"
        )
    if status == 401 or "RepositoryNotFoundError" in kinds:
        do = "look at the name in the profile; "
        do += "HF_TOKEN may not read it" if token else "if it is private, put HF_TOKEN into .env"
        return StopError(MISSING, f"the hub has no model {repo.name}, or shows it to nobody unknown", do)
    if isinstance(error, OSError) and error.errno in {13, 30}:  # EACCES, EROFS
        do = f"give the folder to uid {os.getuid()}, or correct `engines.cache` in the profile"
        return StopError(DISK, f"{error.filename} may not be written: {error.strerror}", do)
    if isinstance(error, OSError) and error.errno in {28, 122}:  # ENOSPC, EDQUOT
        return StopError(DISK, f"the disk is full: {error.strerror}", "free some space; what is whole stays")
    if isinstance(error, ImportError):
        return StopError(
            UNREACHABLE, f"this image has no huggingface_hub: {error}", "run it in the engines' image"
        )
    if "HFValidationError" in kinds:
        return StopError(
            MISSING, f"{repo.name} is no name of a model on the hub", "correct `source` in the profile"
        )
    said = " ".join(str(error).split())[:300]
    return StopError(
        UNREACHABLE, f"{type(error).__name__}: {said}", "look at the network, HTTPS_PROXY and HF_ENDPOINT"
    )


def repo(cache: Path, text: str, *, tokenizer: bool = False) -> Repo:
    name, _, revision = text.partition("@")
    return Repo(cache, name, revision or "main", tokenizer)


def token(path: Path | None) -> str | None:
    try:
        raw = path.read_bytes()[:TOKEN_BYTES_MAX] if path is not None else b""
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StopError(
            DISK, f"{path} cannot be read: {error.strerror}", "run the service `prepare` again"
        ) from None
    return raw.decode("utf-8", "replace").strip() or None


def book(folder: Path) -> dict[str, Any]:
    return parsed(text_of(folder / BOOK))


def parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def sweep(blobs: Path) -> None:
    """Parts that can no longer be gone on with: the library names each download's anew, or used to."""
    for path in blobs.glob("*.incomplete"):
        if re.search(r"\.[0-9a-f]{8}\.incomplete$", path.name):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE_S:
                    path.unlink()


def on_disk(blobs: Path) -> int:
    """Bytes that are really there: a part may be a file with holes."""
    total = 0
    for path in blobs.glob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_blocks * 512
    return total


def gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def leave(number: int, _: FrameType | None) -> None:
    say("stopped; what is whole stays, and the next start goes on from there")
    os._exit(128 + number)  # the library's threads would go on to the end of their files


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

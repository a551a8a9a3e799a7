"""start.py, as the first process of an engine: one loads at a time, signals arrive, the key stays hidden."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from infctl.render import engine_files
from tests.docker.host import until
from tests.e2e.local import free_ports

START = Path(engine_files.__file__).parent / "start.py"
STAND_IN = Path(__file__).parents[3] / "docker" / "stand_in"


@dataclass
class Bench:
    """Starts engines of one GPU as processes of this machine."""

    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def marks(self) -> list[str]:
        file = self.folder / "marks"
        return file.read_text().splitlines() if file.exists() else []

    def start(
        self, name: str, *command: str, key: str | None = None, lock: str = "gpu0", **env: str
    ) -> subprocess.Popen[bytes]:
        port = free_ports(1)
        argv = [sys.executable, str(START), "--lock", str(self.folder / lock)]
        argv += ["--health", f"http://127.0.0.1:{port}/health"]
        if key is not None:
            (self.folder / "key").write_text(key)
            argv += ["--key-file", str(self.folder / "key")]
        served = ["--model", "a/b", "--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)]
        default = (sys.executable, "-m", "vllm.entrypoints.openai.api_server", *served)
        own = {
            "PYTHONPATH": str(STAND_IN),
            "STAND_IN_MARK": str(self.folder / "marks"),
            "PYTHONUNBUFFERED": "1",
        }
        with self.log(name).open("wb") as out:
            one = subprocess.Popen(
                [*argv, "--", *(command or default)],
                env={**os.environ, **own, **{f"STAND_IN_{k}": v for k, v in env.items()}},
                stdout=out,
                stderr=out,
            )
        self.started.append(one)
        return one

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def says(self, name: str, what: str) -> Callable[[], bool]:
        return lambda: what in self.log(name).read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for one in made.started:
        for pid in (*engines(one), one.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        one.wait(10)


def engines(one: subprocess.Popen[bytes]) -> list[int]:
    """What it started."""
    children = Path(f"/proc/{one.pid}/task/{one.pid}/children")
    try:
        return [int(pid) for pid in children.read_text().split()]
    except OSError:
        return []


def alone(marks: list[str]) -> bool:
    """Every load ended before the next one began."""
    pairs = list(zip(marks[::2], marks[1::2], strict=True))
    return all(b == a.replace("begin", "end") for a, b in pairs)


def test_three_engines_of_one_gpu_load_one_after_the_other(bench: Bench) -> None:
    for name in ("a", "b", "c"):
        bench.start(name, LOAD_S="0.4")
    until(lambda: len(bench.marks) == 6, 30, "all have loaded")
    assert alone(bench.marks)


def test_engines_of_two_gpus_load_side_by_side(bench: Bench) -> None:
    bench.start("a", HANG="1")
    bench.start("b", lock="gpu1")
    until(lambda: "end b" in bench.marks, 20, "b has loaded while a was loading")


def test_an_engine_that_fails_lets_the_next_one_load(bench: Bench) -> None:
    first = bench.start("a", LOAD_S="0.5", FAIL="torch.OutOfMemoryError: CUDA out of memory.")
    until(lambda: "begin a" in bench.marks, 20, "a loads")
    bench.start("b")
    assert first.wait(20) == 1
    until(lambda: "end b" in bench.marks, 20, "b has loaded")
    assert bench.marks == ["begin a", "begin b", "end b"]


def test_an_engine_that_is_killed_while_it_loads_lets_the_next_one_load(bench: Bench) -> None:
    first = bench.start("a", HANG="1")
    until(lambda: "begin a" in bench.marks, 20, "a loads")
    bench.start("b")
    until(bench.says("b", "another engine of gpu0 is loading"), 20, "b waits")
    (engine,) = engines(first)
    os.kill(engine, signal.SIGKILL)
    assert first.wait(20) == 137
    until(lambda: "end b" in bench.marks, 20, "b has loaded")


def test_the_kernel_gives_the_lock_back_when_the_first_process_is_killed(bench: Bench) -> None:
    first = bench.start("a", HANG="1")
    until(lambda: "begin a" in bench.marks, 20, "a loads")
    (engine,) = engines(first)
    bench.start("b")
    until(bench.says("b", "another engine"), 20, "b waits")
    first.kill()
    os.kill(engine, signal.SIGKILL)  # in a container the kernel does that
    until(lambda: "end b" in bench.marks, 20, "b has loaded")


def test_sigterm_while_it_waits_for_its_turn_ends_it(bench: Bench) -> None:
    bench.start("a", HANG="1")
    until(lambda: "begin a" in bench.marks, 20, "a loads")
    second = bench.start("b")
    until(bench.says("b", "another engine"), 20, "b waits")
    second.terminate()
    assert second.wait(10) == 143
    assert "begin b" not in bench.marks


@pytest.mark.parametrize(("env", "code"), [({"HANG": "1"}, 143), ({}, 0)], ids=["loading", "serving"])
def test_sigterm_reaches_the_engine(bench: Bench, env: dict[str, str], code: int) -> None:
    one = bench.start("a", **env)
    ready = "begin a" if env else "end a"
    until(lambda: ready in bench.marks, 20, ready)
    until(bench.says("a", "Starting vLLM server" if not env else "Initializing"), 20, "it hears signals")
    one.terminate()
    assert one.wait(20) == code


def test_a_signal_that_ends_the_engine_is_told_as_a_shell_would(bench: Bench) -> None:
    one = bench.start("a", sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert one.wait(20) == 128 + signal.SIGSEGV


def test_the_key_is_in_the_engines_environment_and_in_no_command_line(bench: Bench) -> None:
    one = bench.start("a", key="s3cret-of-the-engines\n")
    until(lambda: "end a" in bench.marks, 20, "a has loaded")
    (engine,) = engines(one)
    assert b"VLLM_API_KEY=s3cret-of-the-engines\0" in Path(f"/proc/{engine}/environ").read_bytes()
    for pid in (one.pid, engine):
        assert b"s3cret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert "s3cret" not in bench.log("a").read_text()


def test_without_a_key_the_engine_starts_and_says_who_may_ask_it(bench: Bench) -> None:
    bench.start("a", key="")
    until(lambda: "end a" in bench.marks, 20, "a has loaded")
    assert "holds no key: this engine answers everybody in its network" in bench.log("a").read_text()


def test_a_lock_that_cannot_be_used_is_named_with_what_mends_it(bench: Bench) -> None:
    one = bench.start("a", lock="absent/gpu0")
    assert one.wait(20) == 78
    said = bench.log("a").read_text()
    assert f"{bench.folder}/absent/gpu0 cannot be used: No such file or directory" in said
    assert "docker compose up -d prepare" in said


def test_a_command_that_is_not_there_is_named(bench: Bench) -> None:
    assert bench.start("a", "no-such-program").wait(20) == 127
    assert "no-such-program: No such file or directory" in bench.log("a").read_text()

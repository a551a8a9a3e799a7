"""What a person reads when something goes wrong, and what a program reads."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest

from infctl.cli import console, failures, shapes
from infctl.errors import EngineError, InfctlError, Location, LockError, Problem, ProfileError

TWO = ProfileError(
    "local.yaml: 2 problems",
    problems=[
        Problem(
            "5 replicas need 5 GPUs, 4 exist", "models/chat/replicas", Location("local.yaml", 9, 15), "3 fit"
        ),
        Problem("unknown key", "gatway", Location("local.yaml", 12, 1), "gateway"),
    ],
    hint="infctl schema helps an editor",
)
TWO_TEXT = """\
error: local.yaml:9:15  models/chat/replicas: 5 replicas need 5 GPUs, 4 exist
  3 fit
error: local.yaml:12:1  gatway: unknown key
  gateway
local.yaml: 2 problems
  infctl schema helps an editor
"""


@pytest.fixture(autouse=True)
def _text() -> Any:
    console.configure(json_output=False)
    yield
    console.configure(json_output=False)


def test_every_problem_of_a_profile_is_told_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    console.error(TWO)
    assert capsys.readouterr() == ("", TWO_TEXT)


def test_a_failed_service_shows_its_own_last_lines_after_the_hint(capsys: pytest.CaptureFixture[str]) -> None:
    console.error(EngineError("chat did not start", hint="infctl logs chat", log=["Traceback:", "  boom"]))
    assert (
        capsys.readouterr().err
        == "error: chat did not start\n  infctl logs chat\n  | Traceback:\n  |   boom\n"
    )


def test_with_json_the_error_is_one_object_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure(json_output=True)
    console.error(TWO)
    out, err = capsys.readouterr()
    assert out == ""
    told = json.loads(err)
    assert err.count("\n") == 1
    assert told["error"]["problems"][0] == {
        "message": "5 replicas need 5 GPUs, 4 exist",
        "path": "models/chat/replicas",
        "file": "local.yaml",
        "line": 9,
        "column": 15,
        "hint": "3 fit",
    }
    assert list(told["error"]) == list(shapes.ERROR["error"])
    assert list(told["error"]["problems"][0]) == list(shapes.ERROR["error"]["problems"][0])


def test_colour_is_for_terminals_and_for_those_who_force_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert console.styled("x", "error") == "x"
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert console.styled("x", "error") == "x", "NO_COLOR wins"
    monkeypatch.delenv("NO_COLOR")
    assert console.styled("x", "error") == "\x1b[1;31mx\x1b[0m"
    monkeypatch.delenv("FORCE_COLOR")
    assert console.styled("x", "error") == "x", "stdout is no terminal here"


def raising(error: BaseException) -> Any:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InfctlError("x"), 1),
        (ProfileError("x"), 3),
        (EngineError("x"), 5),
        (LockError("x"), 7),
        (KeyboardInterrupt(), 130),
        (console.ReaderGoneError(), 0),
        (ZeroDivisionError("x"), 70),
    ],
)
def test_each_failure_has_its_exit_code(error: BaseException, code: int) -> None:
    assert failures.guarded(raising(error), []) == code


def test_a_ctrl_c_that_typer_swallowed_is_still_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert failures.guarded(lambda: 130, []) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_a_fault_of_ours_leaves_a_report_and_no_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert failures.guarded(raising(ZeroDivisionError("by nought")), ["up", "-y"]) == 70
    err = capsys.readouterr().err
    [report] = (tmp_path / "infctl" / "reports").iterdir()
    assert err.splitlines() == [
        "error: a fault in infctl itself: ZeroDivisionError: by nought",
        f"  a report is in {report}",
        "  INFCTL_DEBUG=1 prints the traceback",
    ]
    assert report.stat().st_mode & 0o777 == 0o600
    text = report.read_text()
    assert "command: infctl up -y" in text
    assert "ZeroDivisionError: by nought" in text


def test_a_fault_is_told_even_where_no_report_can_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    monkeypatch.setenv("INFCTL_DEBUG", "1")
    assert failures.guarded(raising(ZeroDivisionError("x")), []) == 70
    err = capsys.readouterr().err
    assert "no report could be written" in err
    assert "Traceback (most recent call last)" in err


def test_a_full_disk_is_no_fault_of_ours(capfd: pytest.CaptureFixture[str]) -> None:
    def full() -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/x.log")

    assert failures.guarded(full, ["up"]) == 5
    assert capfd.readouterr().err.startswith("error: /data/x.log: No space left on device\n")

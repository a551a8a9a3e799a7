"""The profile, its secrets, and whether the models fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from infctl.doctor.check import run
from infctl.doctor.checks import CHECKS
from infctl.errors import Location, PlanError, Problem, ProfileError
from infctl.plan import Plan, Replica

BY_NAME = {check.name: check for check in CHECKS}


def told(name, case):
    return list(run([BY_NAME[name]], case))


def test_a_sound_profile_is_one_line(case):
    (found,) = told("profile", case())
    assert (found.verdict, found.what) == ("ok", "p.yaml: p, 1 model, runtime process")


def test_every_mistake_of_a_profile_is_a_failure_of_its_own(case):
    where = Location("p.yaml", 3, 1)
    error = ProfileError("2 mistakes", problems=[Problem("one", "a/b", where, "do"), Problem("two")])
    bare = replace(case(), loaded=None, layout=None, wrong={"profile": error})
    found = told("profile", bare)
    assert [(one.verdict, one.what, one.fix, one.where) for one in found] == [
        ("failure", "one", "do", where),
        ("failure", "two", "", None),
    ]
    # What needs a profile is skipped, and says so.
    assert {one.verdict for one in run([BY_NAME["plan"], BY_NAME["env"], BY_NAME["docker"]], bare)} == {
        "skipped"
    }


def test_a_secret_that_is_not_set_is_a_failure_with_its_place(case):
    found = told("profile", replace(case(), env={}))
    assert [one.verdict for one in found] == ["ok", "failure"]
    assert "GATEWAY_API_KEY is not set" in found[1].what


def test_settings_without_effect_are_one_warning(case):
    found = told("profile", case({"gateway": {"audit": {"bodies": True}, "cache": {"ttl": "5s"}}}))
    assert [one.verdict for one in found] == ["ok", "warning"]
    assert "gateway/audit/bodies" in found[1].what


def test_a_plan_is_its_engines_and_its_warnings(case):
    warned = Plan((Replica("chat", "chat"),), warnings=(Problem("tight", "models/chat"),))
    found = told("plan", case(plan=warned))
    assert [(one.verdict, one.what) for one in found] == [("ok", "1 engine on the CPU"), ("warning", "tight")]
    assert "placed by count" in found[0].why
    assert found[1].where == Location("p.yaml", 6, 5)


def test_models_that_do_not_fit_are_failures_with_what_would(case):
    error = PlanError(
        "they do not fit", problems=[Problem("chat needs more", "models/chat", None, "would fit: x")]
    )
    found = told("plan", case(wrong={"plan": error}))
    assert [(one.verdict, one.fix) for one in found] == [("failure", "would fit: x")]


def test_books_that_belong_to_somebody_else_are_a_failure(case, tmp_path: Path, monkeypatch):
    made = case({"runtime": "docker"})
    (made.layout.home / "state").mkdir(parents=True)
    (found,) = told("state", made)
    assert found.verdict == "ok"
    monkeypatch.setattr("os.access", lambda path, _mode: not str(path).endswith("state"))
    (found,) = told("state", made)
    assert found.verdict == "failure"
    assert f"sudo chown -R $USER {tmp_path}/.infctl/p/state" in found.fix
    monkeypatch.setattr("os.access", lambda *_: False)
    (found,) = told("state", made)
    assert found.what == f"{tmp_path}/.infctl/p and 1 more cannot be written"

"""The certificate: dates, names, key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infctl import tls
from infctl.doctor.checks.certificate import covers, judge, look
from infctl.tls import Described
from tests.infctl.doctor.conftest import NOW

TODAY = datetime.fromtimestamp(NOW, UTC)


def described(days: float = 200, *, names=("llm.example",), matches=True, since: float = -10) -> Described:
    return Described(
        names=tuple(names),
        not_before=TODAY + timedelta(days=since),
        not_after=TODAY + timedelta(days=days),
        self_signed=False,
        key_matches=matches,
    )


@pytest.mark.parametrize(
    ("found", "names", "verdicts", "path"),
    [
        (described(), ("llm.example",), ["ok"], ""),
        (described(), ("_",), ["ok"], ""),
        (described(10), ("_",), ["warning", "ok"], "edge/tls/certificate"),
        (described(-1), ("_",), ["failure"], "edge/tls/certificate"),
        (described(since=3), ("_",), ["failure", "ok"], "edge/tls/certificate"),
        (described(matches=False), ("_",), ["failure"], "edge/tls/key"),
        (described(), ("llm.example", "api.example"), ["failure"], "edge/server_name"),
        (described(names=("*.example",)), ("llm.example",), ["ok"], ""),
        (described(names=("*.example",)), ("a.llm.example",), ["failure"], "edge/server_name"),
        (described(names=()), ("llm.example",), ["failure"], "edge/server_name"),
    ],
)
def test_a_certificate_is_judged_by_its_dates_its_names_and_its_key(case, found, names, verdicts, path):
    told = list(judge(found, names, case(), 21))
    assert [one.verdict for one in told] == verdicts
    assert told[0].path == path


@pytest.mark.parametrize(
    ("name", "wanted", "yes"),
    [
        ("a.example", "A.Example.", True),
        ("*.example", "a.example", True),
        ("*.example", "example", False),
        ("*.example", "a.b.example", False),
        ("*.example", "*.example", True),
        ("10.0.0.1", "10.0.0.1", True),
        ("b.example", "a.example", False),
    ],
)
def test_a_star_stands_for_one_label(name, wanted, yes):
    assert covers([name], wanted) is yes


def named(case, tmp_path: Path):
    made = tls.self_signed(tmp_path / "made", ("llm.example",), now=TODAY)
    files = {"certificate": str(made.certificate), "key": str(made.key)}
    return case({"edge": {"server_name": "llm.example", "tls": files}})


def test_files_that_are_named_are_read(case, tmp_path: Path):
    (found,) = look(named(case, tmp_path))
    assert (found.verdict, "self-signed" in found.what) == ("ok", True)


def test_files_that_are_missing_or_no_certificate_are_failures_at_their_place(case, tmp_path: Path):
    made = named(case, tmp_path)
    (tmp_path / "made" / "key.pem").write_text("no key")
    (found,) = look(made)
    assert (found.verdict, found.path) == ("failure", "edge/tls/key")
    (tmp_path / "made" / "certificate.pem").unlink()
    (found,) = look(made)
    assert (found.verdict, found.path) == ("failure", "edge/tls/certificate")


def test_one_that_infctl_makes_is_fine_before_and_after(case):
    made = case({"edge": {"bind": "127.0.0.1"}})
    (found,) = look(made)
    assert (found.verdict, "makes a self-signed" in found.what) == ("ok", True)
    tls.self_signed(made.layout.rendered / "tls", ("localhost",), now=TODAY - timedelta(days=800))
    (found,) = look(made)
    # Near its end, and no warning: infctl renews it.
    assert (found.verdict, "self-signed by infctl" in found.what) == ("ok", True)


def test_without_an_edge_there_is_none_to_look_at(case):
    (found,) = look(case({"edge": {"enabled": False}}))
    assert found.verdict == "skipped"

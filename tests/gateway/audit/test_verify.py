"""Whatever is changed in a trail is found, at its place, and named for what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.audit import files
from gateway.audit.anchors import Anchor
from gateway.audit.chain import Head, encoded, key_id, read, seal
from gateway.audit.files import TrailFile
from gateway.audit.verify import verify_chain
from tests.examples import examples

KEY = b"an audit key"


def made(count: int, per_file: int, key: bytes | None = KEY) -> tuple[list[bytes], Anchor]:
    """The bytes of each file, and the anchor."""
    head, contents, current = Head(), [], b""
    for n in range(count):
        facts = {"event": "request", "n": n, "why": "é\n" * (n % 3)}
        if n % per_file == 0:
            if current:
                contents.append(current)
            current = b""
            facts = {"event": "audit_file", "key": key_id(key)}
        line, head = seal(encoded(facts), head, key)
        current += line
    contents.append(current)
    return contents, Anchor(head, len(contents))


def judged(folder: Path, contents: list[bytes], anchor: Anchor | None, key: bytes | None = KEY):
    for old in folder.iterdir():
        old.unlink()
    trail = []
    for number, content in enumerate(contents, start=1):
        path = folder / files.name("w00", number)
        path.write_bytes(content)
        trail.append(TrailFile("w00", number, path))
    return verify_chain("w00", trail, key, anchor)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("trail")


@given(
    count=st.integers(1, 12),
    per_file=st.integers(1, 6),
    key=st.sampled_from([KEY, None]),
    anchored=st.booleans(),
    data=st.data(),
)
@settings(max_examples=examples(250), deadline=None)
def test_any_one_changed_byte_is_found(folder, count, per_file, key, anchored, data):
    contents, anchor = made(count, per_file, key)
    number = data.draw(st.integers(0, len(contents) - 1))
    at = data.draw(st.integers(0, len(contents[number]) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != contents[number][at]))
    changed = bytearray(contents[number])
    changed[at] = value
    contents[number] = bytes(changed)
    verdict = judged(folder, contents, anchor if anchored else None, key)
    assert verdict.broken is not None
    alone = verdict.records == 0 and min(count, per_file) == 1  # nothing beside it tells whose key it was
    allowed = {"changed"} | ({"cut"} if anchored else set()) | ({"wrong_key"} if alone else set())
    assert verdict.broken.kind in allowed
    line = contents[number][:at].count(b"\n") + 1
    assert verdict.broken.file == files.name("w00", number + 1)
    assert verdict.broken.line in {line, line + (verdict.broken.kind == "cut")}


@given(st.integers(1, 12), st.integers(1, 6), st.data())
@settings(max_examples=examples(150), deadline=None)
def test_a_cut_tail_is_found_wherever_it_is_cut(folder, count, per_file, data):
    contents, anchor = made(count, per_file)
    whole = b"".join(contents)
    left = whole[: data.draw(st.integers(0, len(whole) - 1))]
    kept = []
    for content in contents:
        if left:
            kept.append(left[: len(content)])
        left = left[len(content) :]
    verdict = judged(folder, kept, anchor)
    assert verdict.broken is not None
    assert verdict.broken.kind == "cut"
    assert verdict.broken.record == verdict.records + 1


@given(st.integers(1, 12), st.integers(1, 6), st.data())
@settings(max_examples=examples(100), deadline=None)
def test_a_crash_is_no_break_wherever_the_line_breaks_off(folder, count, per_file, data):
    """What stands behind the anchor was never promised to anybody."""
    contents, anchor = made(count, per_file)
    line, _ = seal(encoded({"event": "request", "n": "next"}), anchor.head, KEY)
    contents[-1] += line[: data.draw(st.integers(1, len(line) - 1))]
    verdict = judged(folder, contents, anchor)
    assert verdict.broken is None
    assert verdict.records == count
    assert len(verdict.notes) == 1


def lines_of(contents: list[bytes]) -> list[bytes]:
    return b"".join(contents).splitlines(keepends=True)


@given(st.integers(3, 12), st.data())
@settings(max_examples=examples(80), deadline=None)
def test_a_record_that_was_taken_out_is_a_gap_and_one_that_was_moved_is_reordered(folder, count, data):
    contents, anchor = made(count, 100)
    lines = lines_of(contents)
    out = data.draw(st.integers(0, count - 2))
    gap = judged(folder, [b"".join(lines[:out] + lines[out + 1 :])], anchor).broken
    assert (gap.kind, gap.record, gap.line) == ("gap", out + 1, out + 1)
    swapped = [*lines]
    swapped[out], swapped[out + 1] = swapped[out + 1], swapped[out]
    moved = judged(folder, [b"".join(swapped)], anchor).broken
    assert (moved.kind, moved.record, moved.line) == ("reordered", out + 1, out + 1)
    doubled = judged(folder, [b"".join(lines[: out + 1] + lines[out:])], anchor).broken
    assert (doubled.kind, doubled.line) == ("reordered", out + 2)


def test_a_file_that_is_missing_is_a_gap_and_the_last_one_is_a_cut(folder):
    contents, anchor = made(9, 3)
    missing = judged(folder, [contents[0], b"", contents[2]], anchor).broken
    assert (missing.kind, missing.what) == ("gap", "missing: records 4 to 6")
    assert judged(folder, contents[:2], anchor).broken.kind == "cut"
    assert judged(folder, [], anchor).broken.kind == "cut"


def test_another_key_is_told_as_that(folder):
    contents, anchor = made(5, 3)
    broken = judged(folder, contents, anchor, b"another key").broken
    assert (broken.kind, broken.record) == ("wrong_key", 1)
    assert judged(folder, contents, anchor, None).broken.kind == "wrong_key"
    unsigned, head = made(5, 3, None)
    assert judged(folder, unsigned, head, KEY).broken.kind == "wrong_key"


def test_a_chain_that_was_made_anew_without_the_key_or_with_it_is_found(folder):
    """With the key, whoever rewrites a record has to rewrite the anchor too."""
    contents, anchor = made(5, 100)
    head, forged = Head(), b""
    for line in lines_of(contents):
        facts = {k: v for k, v in json.loads(line).items() if k not in {"seq", "prev", "hash"}}
        if facts.get("n") == 2:
            facts["n"] = 3
        made_anew, head = seal(encoded(facts), head, KEY)
        forged += made_anew
    assert judged(folder, [forged], None).broken is None
    assert judged(folder, [forged], anchor).broken.kind == "changed"


def test_without_an_anchor_it_is_said_that_a_cut_cannot_be_told(folder):
    contents, _ = made(5, 2)
    assert judged(folder, contents, None).notes == ["no anchor: a cut tail cannot be told"]
    later = judged(folder, contents[1:], None)
    assert later.broken is None
    assert later.notes[0] == "begins with record 3: what was before is not here"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["seq", "prev", "hash", "a", "é"]), st.text('aé\n"\\') | st.integers(0, 9)
    )
)
def test_a_record_says_what_was_recorded_whatever_its_names(facts):
    line, head = seal(encoded(facts), Head(), KEY)
    found = read(line[:-1], KEY)
    assert line.count(b"\n") == 1
    assert found.good
    assert (found.seq, found.hash) == (1, head.hash)
    for name, value in facts.items():
        assert found.facts[f"{name}_" if name in {"seq", "prev", "hash"} else name] == value

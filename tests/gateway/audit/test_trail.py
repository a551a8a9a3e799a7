"""A trail as it is written: rotated, restarted, full, in several hands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit import chain, files
from gateway.audit.anchors import FileAnchors
from gateway.audit.chain import encoded
from gateway.audit.record import preparing
from gateway.audit.seal import Signer
from gateway.audit.verify import verify
from gateway.audit.writer import Rules, Trail
from gateway.redact import Redactor
from tests.examples import examples
from tests.gateway.audit.writing import KEY, killed, started
from tests.gateway.process import ROOT, until


class Desk:
    """A folder with trails in it, and what was alarmed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.anchors = folder / "audit", FileAnchors(folder / "anchors")
        self.alarms: list[tuple[str, dict]] = []

    def open(self, key: bytes | None = KEY, wall=time.time, **rules) -> Trail:
        return Trail(
            self.folder,
            self.anchors,
            key,
            Rules(batch_s=0.001, retry_s=0.001, **rules),
            alarm=lambda what, facts: self.alarms.append((what, facts)),
            wall=wall,
        )

    def verdicts(self, key: bytes | None = KEY):
        return verify(self.folder, key, self.anchors)

    def only(self, key: bytes | None = KEY):
        (verdict,) = self.verdicts(key)
        return verdict

    def records(self, chain: str = "w00") -> list[dict]:
        found = files.of_chains(self.folder)[chain]
        return [json.loads(line) for file in found for line in files.lines(file.path)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_what_is_recorded_is_there_in_order_and_hangs_together(desk: Desk):
    trail = desk.open()
    for n in range(500):
        trail.record({"event": "request", "n": n})
    trail.close(60)
    assert [each["n"] for each in desk.records() if each["event"] == "request"] == list(range(500))
    verdict = desk.only()
    assert (verdict.broken, verdict.records, verdict.notes) == (None, 501, [])


def test_a_restart_goes_on_in_a_new_file_and_the_chain_with_it(desk: Desk):
    for n in range(3):
        trail = desk.open()
        trail.record({"event": "request", "n": n})
        trail.close(60)
    assert [each["seq"] for each in desk.records()] == [1, 2, 3, 4, 5, 6]
    assert len(files.files(desk.folder)) == 3
    assert desk.only().broken is None


def test_rotation_keeps_the_chain(desk: Desk):
    trail = desk.open(rotate_bytes=600)
    for n in range(100):
        trail.record({"event": "request", "n": n})
    trail.close(60)
    assert len(files.files(desk.folder)) > 30
    assert desk.only().broken is None
    assert [each["n"] for each in desk.records() if each["event"] == "request"] == list(range(100))


def test_files_whose_time_is_over_go_and_what_is_kept_still_verifies(desk: Desk):
    trail = desk.open(rotate_bytes=600)
    for n in range(30):
        trail.record({"event": "request", "n": n})
    trail.close(60)
    for file in files.files(desk.folder)[:5]:
        os.utime(file.path, (1, 1))
    desk.open(rotate_bytes=600).close(60)
    assert files.files(desk.folder)[0].number == 6
    verdict = desk.only()
    assert verdict.broken is None, verdict.broken
    removed = [each for each in desk.records() if each["event"] == "audit_removed"]
    assert removed[0]["files"] == [files.name("w00", n) for n in range(1, 6)]
    files.files(desk.folder)[0].path.unlink()
    assert desk.only().broken.kind == "gap"


def test_writers_of_one_folder_have_a_chain_each(desk: Desk):
    trails = [desk.open() for _ in range(4)]
    for n in range(400):
        trails[n % 4].record({"event": "request", "n": n})
    for trail in trails:
        trail.close(60)
    assert [trail.chain for trail in trails] == ["w00", "w01", "w02", "w03"]
    assert [verdict.broken for verdict in desk.verdicts()] == [None] * 4
    found = sorted(
        each["n"] for trail in trails for each in desk.records(trail.chain) if each["event"] == "request"
    )
    assert found == list(range(400))
    again = desk.open()
    assert again.chain == "w00"
    again.close(60)


def test_a_full_queue_is_told_in_the_chain_and_alarmed(desk: Desk):
    trail = desk.open(queue_max=10, refuse=True)
    trail._wake.wait = threading.Event().wait  # the thread is kept from writing after its first round
    trail.record({"event": "request", "n": 0})
    until(lambda: trail.waiting == 0)
    for n in range(1, 21):
        trail.record({"event": "request", "n": n})
    assert trail.lost == 10
    assert trail.refusing
    trail._flush()
    assert [each.get("count") for each in desk.records() if each["event"] == "audit_lost"] == [10]
    assert ("audit_lost", {"count": 10, "chain": "w00"}) in desk.alarms
    assert desk.only().broken is None


def test_a_disk_that_fails_is_alarmed_and_when_it_works_again_nothing_is_missing(desk: Desk, monkeypatch):
    trail = desk.open(rotate_bytes=2000, refuse=True)
    real, failing = os.write, [True]

    def write(fd: int, data: bytes) -> int:
        if fd == trail._fd and failing[0]:
            real(fd, bytes(data)[: len(data) // 2])  # as a disk that fills up: some of it
            raise OSError(28, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr("gateway.audit.writer.os.write", write)
    for n in range(50):
        trail.record({"event": "request", "n": n})
    until(lambda: desk.alarms)
    assert desk.alarms == [("audit_failed", {"why": "No space left on device", "chain": "w00"})]
    assert trail.refusing
    failing[0] = False
    until(lambda: trail.waiting == 0 and not trail.failing)
    trail.close(60)
    assert desk.alarms[-1] == ("audit_recovered", {"chain": "w00"})
    assert [each["n"] for each in desk.records() if each["event"] == "request"] == list(range(50))
    assert desk.only().broken is None


def test_a_real_limit_on_the_files_size_is_a_failed_write_too(tmp_path: Path):
    """RLIMIT_FSIZE: the kernel refuses to grow the file; the process goes on and says so."""
    code = """
import resource, signal, sys, time
from pathlib import Path
from gateway.audit.anchors import FileAnchors
from gateway.audit.writer import Rules, Trail
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
alarms = []
folder, anchors = map(Path, sys.argv[1:])
trail = Trail(folder, FileAnchors(anchors), b"an audit key",
              Rules(batch_s=0.001, retry_s=0.001, refuse=True),
              alarm=lambda what, facts: alarms.append((what, facts["why"])))
n = 0
while not alarms:
    trail.record({"event": "request", "n": n}); n += 1
    time.sleep(0.0001)
print(alarms, trail.refusing, trail.written)
"""
    desk = Desk(tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", code, desk.folder, tmp_path / "anchors"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert run.stdout.startswith("[('audit_failed', 'File too large')] True")
    assert desk.only().broken is None
    assert desk.only().records >= int(run.stdout.split()[-1])


def test_a_writer_killed_at_any_moment_leaves_what_verifies_and_is_gone_on_with(tmp_path: Path):
    """By kill -9 of a real process, again and again on the same folder. At length: make proof-audit."""
    desk = Desk(tmp_path)
    for number in range(5):
        process = started(desk.folder, tmp_path / "anchors")
        time.sleep(0.003 * number * number)
        killed(process)
        verdict = desk.only()
        assert verdict.broken is None, verdict.broken
        assert verdict.records >= number + 1


def test_a_line_torn_by_a_crash_is_told_as_that_and_told_again_by_the_next_writer(desk: Desk):
    trail = desk.open()
    trail.record({"event": "request", "n": 1})
    trail.close(60)
    path = files.files(desk.folder)[0].path
    whole = path.read_bytes()
    torn = b'{"seq":3,"prev":"%b","ev' % json.loads(whole.splitlines()[-1])["hash"].encode()
    path.write_bytes(whole + torn)
    verdict = desk.only()
    assert verdict.broken is None
    assert verdict.notes == [f"w00-000001.jsonl:3: torn: {len(torn)} bytes of record 3: a writer was killed"]
    desk.open().close(60)
    assert desk.alarms[0][0] == "audit_torn"
    assert desk.only().broken is None
    assert "told of when the writer restarted" in desk.only().notes[0]
    path.write_bytes(whole)  # somebody tidies up
    assert desk.only().broken.kind == "changed"


def test_a_tail_that_was_cut_while_nobody_wrote_is_not_written_over(desk: Desk):
    trail = desk.open()
    for n in range(5):
        trail.record({"event": "request", "n": n})
    trail.close(60)
    path = files.files(desk.folder)[0].path
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    assert (desk.only().broken.kind, desk.only().broken.record) == ("cut", 5)
    desk.open().close(60)
    assert (desk.only().broken.kind, desk.only().broken.record) == ("gap", 5)


def test_what_is_written_was_prepared_in_the_writers_own_thread(desk: Desk):
    trail = desk.open()
    trail.prepare = preparing(Redactor(), None)
    trail.record({"event": "request", "body": {"content": "I am bob@example.org"}})
    trail.prepare = preparing(Redactor(), None)
    trail.close(60)
    assert desk.records()[1]["body"] == {"content": "I am [redacted:email]"}


def test_what_cannot_be_prepared_is_not_written_as_it_is(desk: Desk):
    trail = desk.open()
    trail.prepare = lambda lines: 1 / 0
    trail.record({"event": "request", "request_id": "req_1", "body": "bob@example.org"})
    trail.close(60)
    last = desk.records()[1]
    assert (last["event"], last["request_id"]) == ("audit_hidden", "req_1")
    assert "body" not in last


def test_of_a_batch_only_what_cannot_be_prepared_is_hidden(desk: Desk):
    def prepare(lines):
        assert not any(b"bad" in line for line in lines)
        return lines

    trail = desk.open()
    trail.prepare = prepare
    for n in range(20):
        trail.record({"event": "request", "request_id": f"req_{n}", "body": "bad" if n == 7 else "good"})
    trail.close(60)
    events = [record["event"] for record in desk.records()[1:]]
    assert events == ["request"] * 7 + ["audit_hidden"] + ["request"] * 12
    assert desk.only().broken is None


def test_a_requests_line_is_kept_with_its_peer_and_without_what_is_hidden(desk: Desk):
    trail = desk.open()
    trail.prepare = preparing(Redactor(), None)
    line = b'{"event":"request","tenant":"203.0.113.9","client_request_id":"bob@example.org"}\n'
    trail.request(line, "10.0.0.1")
    trail.request(line.replace(b"bob@example.org", b"r1"), "")
    trail.close(60)
    first, second = desk.records()[1:]
    assert (first["tenant"], first["peer"]) == ("203.0.113.9", "10.0.0.1")
    assert first["client_request_id"] == "[redacted:email]"
    assert (second["client_request_id"], second["peer"]) == ("r1", "")


def test_who_asked_is_written_hashed_where_that_is_asked_for(desk: Desk):
    trail = desk.open()
    trail.prepare = preparing(Redactor(), b"k" * 32)
    trail.request(b'{"event":"request","tenant":"team-a","model":"chat"}\n', "10.0.0.1")
    trail.close(60)
    record = desk.records()[1]
    assert record["model"] == "chat"
    assert record["tenant"].startswith("h_")
    assert record["peer"].startswith("h_")
    assert record["tenant"] != record["peer"]


def test_the_lag_is_the_age_of_the_oldest_record_that_waits(desk: Desk):
    wall = time.time()
    trail = desk.open(wall=lambda: wall)
    assert trail.lag_s == 0
    trail.close(60)  # nobody writes any longer
    since = datetime.fromtimestamp(wall - 7, UTC).isoformat().replace("+00:00", "Z")
    trail.record({"event": "request", "ts": since})
    trail.request(b'{"ts":"now"}', "10.0.0.1")
    assert trail.lag_s == pytest.approx(7, abs=0.01)


def test_what_is_known_to_be_clean_is_not_looked_through_again_but_hashed_as_all_is(desk: Desk):
    looked: list[bytes] = []

    def prepare(lines):
        looked.extend(lines)
        return preparing(None, b"k" * 32)(lines)

    trail = desk.open()
    trail.prepare = prepare
    line = b'{"event":"request","tenant":"%b"}\n'
    for tenant in (b"a", b"b", b"c"):
        trail.request(line % tenant, "10.0.0.1", clean=tenant != b"b")
    trail.record({"event": "changed"})
    trail.close(60)
    assert [json.loads(one).get("tenant") for one in looked] == ["b", None]
    tenants = [record.get("tenant") for record in desk.records()[1:]]
    assert tenants[1].startswith("h_")
    assert (tenants[0], *tenants[2:]) == ("a", "c", None)
    again = desk.open()
    again.prepare, again.hashes = prepare, True
    again.request(line % b"a", "10.0.0.2", clean=True)
    again.close(60)
    last = desk.records()[-1]
    assert last["tenant"].startswith("h_")
    assert last["peer"].startswith("h_")
    assert desk.only().broken is None


@settings(max_examples=examples(60), deadline=None)
@given(st.binary(max_size=200), st.lists(st.dictionaries(st.text(), st.integers() | st.text()), max_size=5))
def test_a_seal_of_many_is_the_hash_that_anybody_can_check(key, facts):
    signer, prev = Signer(key), b"0" * 64
    for count, one in enumerate(facts, start=1):
        line, found = signer.sealed(encoded(one), count, prev)
        read = chain.read(line[:-1], key)
        assert line.endswith(b"\n")
        assert read is not None
        assert read.good
        assert (read.seq, read.prev, read.hash) == (count, prev.decode(), found.decode())
        prev = found

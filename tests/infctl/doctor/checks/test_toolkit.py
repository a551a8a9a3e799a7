"""Whether Docker can hand out GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from infctl.doctor.checks.toolkit import Seen, cdi_files, judge, seen


@pytest.mark.parametrize("found", [Seen(runtime=True), Seen(hook=True)])
def test_the_runtime_or_the_hook_is_enough_for_the_driver_nvidia(found):
    assert judge(found, uses_cdi=False).verdict == "ok"


def test_without_either_no_container_gets_a_gpu():
    found = judge(Seen(), uses_cdi=False)
    assert found.verdict == "failure"
    assert "nvidia-ctk runtime configure" in found.fix


def test_cdi_alone_may_do_for_the_driver_nvidia():
    assert judge(Seen(cdi_files=("/etc/cdi/nvidia.yaml",)), uses_cdi=False).verdict == "warning"
    old = Seen(cdi_files=("/etc/cdi/nvidia.yaml",), api=(1, 41))
    assert judge(old, uses_cdi=False).verdict == "failure"


def test_cdi_needs_an_engine_that_takes_it_and_a_file_that_describes_the_cards():
    assert judge(Seen(cdi_known=True), uses_cdi=True).verdict == "ok"
    assert judge(Seen(cdi_files=("/etc/cdi/nvidia.yaml",)), uses_cdi=True).verdict == "ok"
    lacking = judge(Seen(runtime=True), uses_cdi=True)
    assert (lacking.verdict, "nvidia-ctk cdi generate" in lacking.fix) == ("failure", True)
    old = judge(Seen(cdi_known=True, api=(1, 43)), uses_cdi=True)
    assert (old.verdict, old.path) == ("failure", "engines/gpu_driver")


def test_what_another_machine_has_is_not_denied_from_here():
    assert judge(Seen(local=False), uses_cdi=False).verdict == "warning"


def test_files_that_describe_other_devices_do_not_count(tmp_path: Path):
    (tmp_path / "nvidia.yaml").write_text("cdiVersion: 0.6.0\nkind: nvidia.com/gpu\ndevices: []\n")
    (tmp_path / "nvidia.json").write_text('{"cdiVersion": "0.6.0",\n "kind": "nvidia.com/gpu"}\n')
    (tmp_path / "intel.yaml").write_text("kind: intel.com/gpu\n")
    (tmp_path / "notes.txt").write_text("kind: nvidia.com/gpu\n")
    (tmp_path / "folder.yaml").mkdir()
    found = list(cdi_files([str(tmp_path), str(tmp_path / "none")]))
    assert found == [str(tmp_path / "nvidia.json"), str(tmp_path / "nvidia.yaml")]


def test_the_engine_is_asked_for_its_runtimes_and_devices(engine):
    docker = engine(
        info={
            "Runtimes": {"runc": {}, "nvidia": {}},
            "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}],
            "CDISpecDirs": [],
        }
    )
    found = seen(docker)
    assert (found.runtime, found.cdi_known, found.local) == (True, True, True)
    assert seen(engine(is_local=False)).hook is False

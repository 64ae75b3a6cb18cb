"""Cores and memory are those that a batch system or a container leaves to this process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scanner.system import resources

GIB = 2**30


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 cores and much memory, where this process is in no group yet."""
    root = tmp_path / "cgroup"
    root.mkdir()
    monkeypatch.setattr(resources, "_GROUPS", root)
    monkeypatch.setattr(resources, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    pages = {"SC_PHYS_PAGES": 512 * GIB // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    return root


def member(groups: Path, lines: str, files: dict[str, str]) -> None:
    (groups.parent / "membership").write_text(lines)
    for name, text in files.items():
        file = groups / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_all_of_it_where_nothing_limits(groups: Path) -> None:
    assert resources.usable_cores() == 64
    assert resources.usable_memory() == pytest.approx(512 * GIB / 1e9)
    member(groups, "0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"})
    assert resources.usable_cores() == 64
    assert resources.usable_memory() == pytest.approx(512 * GIB / 1e9)


def test_the_tightest_of_the_groups_above(groups: Path) -> None:
    """A Slurm job: its step is not limited, the job is."""
    files = {
        "system.slice/job_7/cpu.max": "800000 100000\n",
        "system.slice/job_7/memory.max": f"{32 * GIB}\n",
        "system.slice/job_7/step_0/cpu.max": "max 100000\n",
        "system.slice/job_7/step_0/memory.max": "max\n",
        "system.slice/job_8/memory.max": "1\n",
    }
    member(groups, "0::/system.slice/job_7/step_0\n", files)
    assert resources.usable_cores() == 8
    assert resources.usable_memory() == pytest.approx(32 * GIB / 1e9)


@pytest.mark.parametrize(("quota", "cores"), [("150000", 1), ("50000", 1), ("250000", 2)])
def test_parts_of_cores(quota: str, cores: int, groups: Path) -> None:
    member(groups, "0::/\n", {"cpu.max": f"{quota} 100000\n"})
    assert resources.usable_cores() == cores


def test_a_container_that_is_not_where_its_group_is_said_to_be(groups: Path) -> None:
    """Of version 1: the paths are the host's, and inside there is only the group itself."""
    lines = "4:memory:/kubepods/pod1/abc\n3:cpu,cpuacct:/kubepods/pod1/abc\n1:name=systemd:/kubepods\n"
    files = {
        "memory/memory.limit_in_bytes": f"{16 * GIB}\n",
        "cpu,cpuacct/cpu.cfs_quota_us": "400000\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    }
    member(groups, lines, files)
    assert resources.usable_cores() == 4
    assert resources.usable_memory() == pytest.approx(16 * GIB / 1e9)


def test_version_1_without_limits(groups: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "cpu/cpu.cfs_quota_us": "-1\n",
        "cpu/cpu.cfs_period_us": "100000\n",
    }
    member(groups, "4:memory:/\n3:cpu,cpuacct:/\n", files)
    assert resources.usable_cores() == 64
    assert resources.usable_memory() == pytest.approx(512 * GIB / 1e9)


@pytest.mark.parametrize(
    "files",
    [
        {"cpu.max": "", "memory.max": "a lot\n"},
        {"cpu.max": "100000 0\n", "memory.max": ""},
        {"cpu.cfs_quota_us": "100000\n", "memory.limit_in_bytes": "\n"},
    ],
)
def test_files_that_say_nothing_sensible(files: dict[str, str], groups: Path) -> None:
    member(groups, "0::/\n", files)
    assert resources.usable_cores() == 64
    assert resources.usable_memory() == pytest.approx(512 * GIB / 1e9)


def test_this_machine() -> None:
    assert 1 <= resources.usable_cores() <= (os.cpu_count() or 1)
    assert resources.usable_memory() > 0.1

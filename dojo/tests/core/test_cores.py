"""The cores that a process may use are those of its mask and its cgroup, not those of the host."""

import os

import pytest

from dojo.core import cores

HOST = 40


@pytest.fixture(autouse=True)
def _host(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(HOST)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: HOST)


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_the_affinity_mask_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 7, 9})
    assert cores.usable_cores(tmp_path) == 3


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, HOST),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "300000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/the/hosts/path\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({
            "proc/self/cgroup": "5:memory:/\n4:cpu,cpuacct:/docker/ab\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "400000\n", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        }, 4),
        ({
            "proc/self/cgroup": "4:cpu,cpuacct:/docker/ab\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        }, HOST),
        ({"proc/self/cgroup": "nonsense\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, HOST),
        ({}, HOST),
    ],
)  # fmt: skip
def test_the_limit_of_a_cgroup_counts(tmp_path, files, count):
    """Of version 2 and 1, of the cgroup itself or one around it; half a core is one, since nothing works with none."""
    write(tmp_path, files)
    assert cores.usable_cores(tmp_path) == count


@pytest.mark.parametrize(("load", "factor"), [(0.2, 1), (HOST, 1), (3 * HOST, 3), (100 * HOST, cores.MAX_SLOWDOWN)])
def test_a_busy_machine_takes_longer(monkeypatch, load, factor):
    monkeypatch.setattr(cores, "usable_cores", lambda: HOST)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert cores.slowdown() == factor

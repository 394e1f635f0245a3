"""What a run can have: the tightest limit of the process's groups, cached files not counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_experiments.planning.available import available_memory, cgroup_left, gigabytes


def group(folder: Path, most: str, used: int, cached: int = 0, names: tuple[str, str, str] | None = None) -> None:
    limit, usage, cache = names or ("memory.max", "memory.current", "inactive_file")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit).write_text(f"{most}\n")
    (folder / usage).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{cache} {cached}\n")


def own(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "cgroup"
    file.write_text(text)
    return file


def test_a_limit_counts_and_cached_files_are_free(tmp_path: Path) -> None:
    group(tmp_path / "jobs" / "mine", "1000", 400, cached=100)
    group(tmp_path / "jobs", "max", 800)
    assert cgroup_left(tmp_path, own(tmp_path, "0::/jobs/mine\n")) == 700


def test_the_tightest_of_the_groups_above_counts(tmp_path: Path) -> None:
    group(tmp_path / "jobs" / "mine", "1000", 400)
    group(tmp_path / "jobs", "1100", 900)
    assert cgroup_left(tmp_path, own(tmp_path, "0::/jobs/mine\n")) == 200


def test_a_containers_own_view_has_the_limit_at_its_top(tmp_path: Path) -> None:
    group(tmp_path, "1000", 100)
    assert cgroup_left(tmp_path, own(tmp_path, "0::/not/seen/from/inside\n")) == 900


def test_the_first_version_of_groups(tmp_path: Path) -> None:
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    group(tmp_path / "memory" / "mine", "500", 100, cached=50, names=names)
    assert cgroup_left(tmp_path, own(tmp_path, "5:cpu,cpuacct:/mine\n4:memory:/mine\n")) == 450


def test_without_a_limit_there_is_none(tmp_path: Path) -> None:
    group(tmp_path, "max", 100)
    assert cgroup_left(tmp_path, own(tmp_path, "0::/\n")) is None
    assert cgroup_left(tmp_path, tmp_path / "none") is None


def test_a_limit_below_the_free_memory_is_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_experiments.planning import available

    monkeypatch.setattr(available, "_may_have_gpu", lambda: False)
    monkeypatch.setattr(available, "cgroup_left", lambda: 12_000_000)
    assert available_memory().size == 12_000_000
    assert "limit of this container" in str(available_memory())
    monkeypatch.setattr(available, "cgroup_left", lambda: 1 << 60)
    assert 12_000_000 < available_memory().size < 1 << 60


@pytest.mark.parametrize(("size", "said"), [(61.4e6, "61 MB"), (1.54e9, "1.5 GB"), (110e9, "110 GB")])
def test_sizes_as_people_say_them(size: float, said: str) -> None:
    assert gigabytes(size) == said

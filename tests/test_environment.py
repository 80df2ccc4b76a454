"""The three lists of dependencies agree: pyproject.toml, requirements.txt and environment.yml."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (
    "pip compile pyproject.toml --extra serve --extra spark --extra test --extra dev "
    "--universal --python-version 3.11 "
    "--fork-strategy fewest --generate-hashes --no-emit-index-url --no-emit-find-links "
    "--no-header --quiet -o requirements.txt"
)
NOT_LOCKED = "gpu"
"""The extra for a machine with an NVIDIA GPU: gigabytes that nobody else wants."""
NO_NETWORK = re.compile(r"error sending request|dns error|connect|timed? ?out|client error", re.I)


def pyproject(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def direct(root: Path) -> list[Requirement]:
    """Every dependency that the two commands install, those of the extras too."""
    project = pyproject(root)["project"]
    extras = [
        needs for name, needs in project["optional-dependencies"].items() if name != NOT_LOCKED
    ]
    lists = [project["dependencies"], *extras]
    return [Requirement(line) for each in lists for line in each]


def without_comments(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def conda_is_stale(root: Path, scratch: Path) -> bool:
    """Whether environment.yml differs from what pyproject.toml gives (its header aside)."""
    shutil.copy(root / "pyproject.toml", scratch)
    subprocess.run(
        [sys.executable, "-m", "pyproject2conda", "project", "--overwrite", "force"],
        cwd=scratch,
        check=True,
        capture_output=True,
    )
    return without_comments(root / "environment.yml") != without_comments(
        scratch / "environment.yml"
    )


def unlocked(root: Path) -> list[str]:
    """The declared dependencies for which the lock file has no version that fits."""
    lock = (root / "requirements.txt").read_text(encoding="utf-8")
    locked = {canonicalize_name(name): [] for name in re.findall(r"^([\w.-]+)==", lock, re.M)}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.M):
        locked[canonicalize_name(name)].append(version)
    return [
        str(need)
        for need in direct(root)
        if not any(need.specifier.contains(v) for v in locked.get(canonicalize_name(need.name), []))
    ]


def test_conda_environment_is_generated_from_pyproject(tmp_path: Path) -> None:
    assert not conda_is_stale(ROOT, tmp_path), "environment.yml is stale; run `make lock`"


def test_conda_environment_has_every_extra() -> None:
    project = pyproject(ROOT)
    environment = project["tool"]["pyproject2conda"]["envs"]["environment"]
    extras = set(project["project"]["optional-dependencies"])
    assert {*environment["extras"], NOT_LOCKED} == extras


def test_lock_holds_every_declared_dependency() -> None:
    assert unlocked(ROOT) == [], "requirements.txt is stale; run `make lock`"


def test_lock_is_what_uv_compiles(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "uv", *LOCK.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and NO_NETWORK.search(done.stderr) and not os.environ.get("CI"):
        pytest.skip("the package index was not reached")
    assert done.returncode == 0, done.stderr
    fresh = (tmp_path / "requirements.txt").read_text(encoding="utf-8")
    committed = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert fresh == committed, "requirements.txt is stale; run `make lock`"


def test_the_makefile_locks_in_the_same_way() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    assert " ".join(LOCK.split()[:-2]) in " ".join(makefile.split())


def test_lock_has_hashes_and_names_no_host() -> None:
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[\w.-]+==)", lock, flags=re.M)[1:]
    assert len(blocks) > 100
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
    options = set(re.findall(r"--[a-z-]+", lock))
    assert options == {"--hash"}
    assert "://" not in lock


def test_what_tidy_writes_by_default_is_not_for_git() -> None:
    assert "$(or $(value TO),cleaned)" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "/cleaned/" in without_comments(ROOT / ".gitignore")


def test_the_cache_of_ci_changes_with_what_it_depends_on() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    key = re.search(r"key: (.*)", workflow)
    assert key
    assert "hashFiles('requirements.txt', 'helpers/datasets/*.py')" in key[1]

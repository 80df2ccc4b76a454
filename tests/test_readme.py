import json
from pathlib import Path

import pytest
from notebook_fixtures import save_runnable

from helpers import readme

ROOT = Path(__file__).parents[1]
TEXT = """# A project
<!-- results -->
old
<!-- /results -->
Between.
<!-- notebooks -->
<!-- /notebooks -->
The end.
"""
WRITTEN = """# A project
<!-- results -->
| Notebook | Metric | Value | What it is |
| --- | --- | --- | --- |
| [1](reports/01_first.html) | density | 6.3 % | pairs \\| cells |
<!-- /results -->
Between.
<!-- notebooks -->
| Notebook | Question | Data | Run time | Report |
| --- | --- | --- | --- | --- |
| [1. A](notebooks/01_first.ipynb) | B? | a-log | seconds | [HTML](reports/01_first.html) |
<!-- /notebooks -->
The end.
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text(TEXT)
    save_runnable(tmp_path, "01_first")
    results = tmp_path / "reports" / "results"
    results.mkdir(parents=True)
    rows = [
        {"metric": "density", "shown": "6.3 %", "definition": "pairs | cells", "headline": True},
        {"metric": "other", "shown": "1", "definition": "not shown", "headline": False},
    ]
    (results / "01_first.json").write_text(json.dumps({"dataset": "a-log", "results": rows}))
    return tmp_path


def test_committed_readme_is_up_to_date() -> None:
    assert readme.update(ROOT, check=True) == []


def test_writes_both_parts_and_is_then_up_to_date(project: Path) -> None:
    assert len(readme.update(project)) == 2
    assert (project / "README.md").read_text() == WRITTEN
    assert readme.update(project, check=True) == []


def test_check_changes_nothing_and_names_the_part(project: Path) -> None:
    (project / "README.md").write_text(WRITTEN.replace("6.3 %", "6.4 %"))
    [stale] = readme.update(project, check=True)
    assert "'results' is stale" in stale
    assert "6.4 %" in (project / "README.md").read_text()


@pytest.mark.parametrize("text", ["", TEXT + TEXT, TEXT.replace("<!-- /results -->", "")])
def test_markers_must_be_there_once(project: Path, text: str) -> None:
    (project / "README.md").write_text(text)
    with pytest.raises(ValueError, match="one pair of lines '<!-- results -->'"):
        readme.update(project)
    assert (project / "README.md").read_text() == text

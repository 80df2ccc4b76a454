"""The README is generated where it holds numbers, and its words are true."""

import json
import re
import runpy
from pathlib import Path

import pytest
import readme
from notebook_fixtures import save_runnable

ROOT = Path(__file__).parents[1]
PARTS = ("findings", "results", "claims", "notebooks")
TEXT = "# A project\n" + "".join(
    f"<!-- {part} -->\nold\n<!-- /{part} -->\nMore.\n" for part in PARTS
)
WRITTEN = """# A project
<!-- findings -->
- Few factors are enough. ([notebook 3](reports/03_third.html))
<!-- /findings -->
More.
<!-- results -->
| Notebook | Metric | Value | What it is |
| --- | --- | --- | --- |
| [1](reports/01_first.html) | Filled cells | 6.3 % | pairs \\| cells |
| [3](reports/03_third.html) | Gain | +0.0011 [-0.0010, +0.0032] | paired |
| [3](reports/03_third.html) | Level | 0.0011 [-0.0010, 0.0032] | alone |
<!-- /results -->
More.
<!-- claims -->
| Project | Claim | Verdict | What we found | Notebook |
| --- | --- | --- | --- | --- |
| customised-ALS portfolio | Sparse is small | confirmed | It is. | [3](reports/03_third.html) |
| store project | It works | not confirmed | No. | [1](reports/01_first.html) |
<!-- /claims -->
More.
<!-- notebooks -->
| Notebook | Question | Run time | Report |
| --- | --- | --- | --- |
| [1. A](notebooks/01_first.ipynb) | B? | seconds | [HTML](reports/01_first.html) |
<!-- /notebooks -->
More.
"""


def result(metric: str, shown: str, definition: str, **more: object) -> dict[str, object]:
    given = {"metric": metric, "shown": shown, "definition": definition, "value": 0.0011}
    return given | {"interval": None, "headline": True} | more


def claim(project: str, what: str, verdict: str, finding: str) -> dict[str, str]:
    return {"project": project, "claim": what, "verdict": verdict, "finding": finding}


def save_results(root: Path, name: str, **content: object) -> None:
    path = root / "reports" / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"notebook": name, "dataset": "a-log"} | content))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text(TEXT)
    save_runnable(tmp_path, "01_first")
    low_high = [-0.001, 0.0032]
    save_results(
        tmp_path, "01_first", finding="Not among those that open the README.",
        results=[
            result("Filled cells", "6.3 %", "pairs | cells"),
            result("Other", "1", "not shown", headline=False),
        ],
        claims=[claim("store project", "It works", "not confirmed", "No.")],
    )  # fmt: skip
    save_results(
        tmp_path, "03_third", finding="Few factors are enough.",
        results=[
            result("Gain", "+0.0011 [-0.0010, +0.0032]", "paired", interval=low_high),
            result("Level", "0.0011", "alone", interval=low_high),
        ],
        claims=[claim("customised-ALS portfolio", "Sparse is small", "confirmed", "It is.")],
    )  # fmt: skip
    return tmp_path


def test_committed_readme_is_up_to_date() -> None:
    assert readme.update(ROOT, check=True) == []


def test_writes_all_parts_and_is_then_up_to_date(project: Path) -> None:
    assert len(readme.update(project)) == 4
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
    with pytest.raises(ValueError, match=r"one pair of lines '<!-- (?:findings|results) -->'"):
        readme.update(project)
    assert (project / "README.md").read_text() == text


def test_a_claim_of_nobody_is_an_error(project: Path) -> None:
    save_results(project, "04_fourth", results=[], claims=[claim("me", "a", "confirmed", "b")])
    with pytest.raises(
        ValueError, match="claims of 'me' are answered; known: customised-ALS portfolio"
    ):
        readme.update(project)


def test_the_command_says_in_one_line_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^error: .*README\.md.*$"):
        runpy.run_path(readme.__file__, run_name="__main__")


def test_the_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_commands_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.M))
    assert {"run", "test"} <= named <= targets

"""The workflows of a forge run the same commands as people: existing targets of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.M))
VARIABLES = set(re.findall(r"^([A-Z_]+) [?:]?=", MAKEFILE, re.M))


def calls(workflow: Path) -> list[list[str]]:
    """Return the arguments of each `make`."""
    found = re.findall(r"^ *(?:- run: )?(?:sudo )?make (.*)$", workflow.read_text(), re.M)
    return [re.sub(r"\$\{\{.*?\}\}", "…", call).split() for call in found]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_calls_targets_and_variables_that_there_are(workflow: Path) -> None:
    assert calls(workflow)
    for call in calls(workflow):
        for word in call:
            name, is_variable, _ = word.partition("=")
            assert name in (VARIABLES if is_variable else TARGETS), f"make {' '.join(call)}"


def test_what_a_change_must_pass_is_called() -> None:
    assert [path.name for path in WORKFLOWS] == ["release.yml", "tests.yml"]
    tests = {call[0] for call in calls(ROOT / ".github" / "workflows" / "tests.yml")}
    assert {"lint", "test", "deb"} <= tests


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_may_only_read_unless_a_job_says_more(workflow: Path) -> None:
    assert re.search(r"^permissions:\n  contents: read\n\n", workflow.read_text(), re.M)
    for action in re.findall(r"uses: (\S+)", workflow.read_text()):
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", action)

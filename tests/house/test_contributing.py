"""What contributors are told: hooks, workflow and CONTRIBUTING name programs, commands and files that exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from identify.identify import tags_from_path

HOUSE = Path(__file__).parents[2]
HOOKS = yaml.safe_load((HOUSE / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
CONTRIBUTING = (HOUSE / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("hook", [hook for repo in HOOKS for hook in repo["hooks"]], ids=lambda hook: hook["id"])
def test_a_hook_is_a_program_of_the_development_environment(hook: dict[str, Any]) -> None:
    program = Path(hook["entry"].split()[0])
    assert hook["language"] == "system"
    assert program.parent == Path(".venv/bin")
    assert Path(sys.executable).with_name(program.name).exists(), f"the extra dev does not install {program.name}"


def test_the_hook_that_ends_lines_leaves_pixels_and_models_alone() -> None:
    (hook,) = (hook for repo in HOOKS for hook in repo["hooks"] if hook["id"] == "end-of-file-fixer")
    assert "text" in tags_from_path(str(HOUSE / "scanner/demo/CFIS.217.292.r.fits.fz"))
    assert not set(hook["types_or"]) & tags_from_path(str(HOUSE / "scanner/demo/CFIS.217.292.r.fits.fz"))
    assert re.search(hook["exclude"], "scanner/models/small/README.md")


def test_hooks_need_no_network() -> None:
    assert [repo["repo"] for repo in HOOKS] == ["local"]


def test_the_hosted_workflow_runs_the_script_of_ci_on_linux_and_macos() -> None:
    workflow = yaml.safe_load((HOUSE / ".github/workflows/check.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["check"]
    assert job["steps"][-1]["run"] == "bash .ci/run"
    assert job["strategy"]["matrix"] == {"os": ["ubuntu-latest", "macos-latest"], "python": ["3.11", "3.13"]}


def test_the_issue_form_asks_for_what_a_bug_needs() -> None:
    form = yaml.safe_load((HOUSE / ".github/ISSUE_TEMPLATE/bug.yml").read_text(encoding="utf-8"))
    assert {"command", "code", "info", "version"} <= {field["id"] for field in form["body"] if "id" in field}


def test_citation_names_this_software_by_its_licence() -> None:
    citation = yaml.safe_load((HOUSE / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert f'license = "{citation["license"]}"' in (HOUSE / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w.-]+/[\w./-]*)`", CONTRIBUTING))))
def test_each_path_in_contributing_exists(path: str) -> None:
    assert (HOUSE / path).exists()


def test_each_target_in_contributing_is_in_the_makefile() -> None:
    commands = re.findall(r"^make ([a-z -]+)|`make ([a-z -]+)`", CONTRIBUTING, flags=re.MULTILINE)
    targets = {target for command in commands for target in " ".join(command).split()}
    assert {"lint", "test"} <= targets
    assert targets <= set(re.findall(r"^([a-z-]+):", (HOUSE / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

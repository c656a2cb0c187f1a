"""The README: its snippets run, its commands and options exist, its tree is the tree."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from pipeline import settings
from pipeline.cli import commands
from pipeline.collect import tasks
from pipeline.collect.grader import Grader

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
WAIT_SECONDS = 60


def fences(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def shell_lines() -> list[list[str]]:
    """Every command of every shell block, without its comment."""
    lines = "\n".join(fences("sh") + fences("bash") + fences("console")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line.removeprefix("$ "), comments=True))]


@pytest.fixture
def home(tmp_path: Path, trained: Any) -> Path:
    """A folder in which `models/v1` is a trained version, as the snippets expect."""
    (tmp_path / "models").mkdir()
    shutil.copytree(trained.folder, tmp_path / "models" / "v1")
    return tmp_path


def test_readme_shows_python_javascript_and_the_shell() -> None:
    assert fences("python")
    assert fences("js")
    assert fences("sh")


# What asks the service is run by test_front_openai.py.
@pytest.mark.parametrize("snippet", [snippet for snippet in fences("python") if "openai" not in snippet])
def test_python_snippet_runs(home: Path, snippet: str) -> None:
    command = [sys.executable, "-W", "error", "-c", snippet]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() in {"flash", "pro", "True", "False"}


# A fence that exports is a module, and proven on the golden corpus.
@pytest.mark.parametrize("snippet", [each for each in fences("js") if "\nexport " not in each])
def test_javascript_snippet_runs_and_decides_as_python_does(home: Path, project: Path, snippet: str) -> None:
    packages = project / "tests" / "node" / "node_modules"
    if shutil.which("node") is None or not (packages / "onnxruntime-node").exists():
        pytest.skip("left out: the JavaScript snippet needs node, and onnxruntime-node ('make node' installs it)")
    (home / "node_modules").symlink_to(packages)
    (home / "snippet.mjs").write_text(snippet, encoding="utf-8")
    found = [
        subprocess.run(command, cwd=home, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS)
        for command in (["node", "snippet.mjs"], [sys.executable, "-c", fences("python")[0]])
    ]
    assert [each.returncode for each in found] == [0, 0], found[0].stderr
    assert found[0].stdout == found[1].stdout


@pytest.mark.parametrize("snippet", fences("toml"))
def test_config_snippet_is_one(tmp_path: Path, snippet: str) -> None:
    (tmp_path / "config.toml").write_text(snippet, encoding="utf-8")
    assert settings.read(tmp_path / "config.toml") != settings.Settings()


@pytest.mark.parametrize("snippet", fences("json"))
def test_task_snippet_is_one(tmp_path: Path, snippet: str) -> None:
    (tmp_path / "tasks.jsonl").write_text(snippet, encoding="utf-8")
    assert [task.id for task in tasks.read([tmp_path / "tasks.jsonl"])] == ["sum/1"]


def test_every_kind_of_grader_is_documented() -> None:
    kinds = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)
    assert {kind.model_fields["kind"].annotation.__args__[0] for kind in Grader.__args__[0].__args__} <= set(kinds)


@pytest.mark.parametrize("words", [words for words in shell_lines() if words[0] == "tier-router"], ids=" ".join)
def test_documented_command_and_its_options_exist(words: list[str]) -> None:
    command = commands.commands[words[1]]
    context = click.Context(command)
    given = [word.split("=")[0] for word in words[2:] if word.startswith("--")]
    assert set(given) <= {option for parameter in command.get_params(context) for option in parameter.opts}


@pytest.mark.parametrize("words", [words for words in shell_lines() if words[0] == "make"], ids=" ".join)
def test_documented_target_exists(words: list[str]) -> None:
    makefile = (PROJECT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) \?=", makefile, re.MULTILINE))
    assert {word for word in words[1:] if "=" not in word} <= targets
    assert {word.split("=")[0] for word in words[1:] if "=" in word} <= variables


def test_shell_blocks_hold_known_programs_only() -> None:
    known = {"make", "tier-router", "git", "cd", "npm", "python3", "curl"}
    assert {words[0] for words in shell_lines()} <= known


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_every_command_is_documented(name: str) -> None:
    assert f"tier-router {name}" in README


def test_tree_names_every_module() -> None:
    tree = next(
        block
        for block in re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
        if "pyproject.toml" in block
    )
    for package in ("features", "pipeline"):
        for path in sorted((PROJECT / package).rglob("*.py")):
            assert path.name == "__init__.py" or re.search(rf"^\s+{path.name}\s+\S", tree, re.MULTILINE), (
                f"{package}/{path.name}"
            )


def test_tree_names_no_module_that_is_not_there() -> None:
    tree = next(
        block
        for block in re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
        if "pyproject.toml" in block
    )
    there = {path.name for folder in ("features", "pipeline", "tests") for path in (PROJECT / folder).rglob("*.py")}
    assert set(re.findall(r"^\s+(\w+\.py)", tree, re.MULTILINE)) <= there


def test_ten_features_are_explained() -> None:
    from features.graph import FEATURES

    assert all(f"`{name}`" in README for name in FEATURES)


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)", README):
        assert link.startswith("http") or (PROJECT / link).exists(), link

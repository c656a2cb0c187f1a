"""What imports what, and what happens on import: nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

WAIT_SECONDS = 120
# Left to right: a module may import those before it, never one after it. CONTRIBUTING says why.
ORDER = (
    "beside", "alone", "limits", "listening", "tables", "prices", "endpoint", "settings", "schema", "usage", "reading",
    "traces", "parts", "metrics", "guarantee", "sequential", "heads", "router", "observed", "evidence", "weights",
    "costs", "frontier", "artifact", "pointer", "history", "row_file", "held_out", "chosen_on",
    "sample", "objective", "certificate", "findings", "config", "tune", "served", "golden", "exploring",
    "export", "baselines", "policies", "rivals", "cascade", "money", "diagnosis", "generalisation", "evaluate",
    "manifest", "plan", "numerals", "worth", "spoken", "figures", "report", "recorder", "tracking", "registry", "train",
    "sibling", "assess", "anonymise", "route",
    *(f"grade.{name}" for name in (
        "answer", "final", "texts", "choices", "units", "amounts", "numbers", "json_text", "json_schema", "structures",
        "sandbox", "harness", "code",
    )),
    *(f"collect.{name}" for name in (
        "human", "judge", "grader", "tasks", "storage", "writer", "journal", "failures", "protocol", "board", "budget",
        "client", "pace", "lines", "outcomes", "asking", "judging", "forecast", "collection", "grading", "marks",
        "label", "progress",
    )),
    *(f"simulate.{name}" for name in (
        "made", "ability", "reckoning", "lookup", "talking", "kinds", "asked", "faults", "replies", "ledger", "options",
        "judge", "prepare", "pair", "server", "__main__", "child",
    )),
    *(f"runtime.{name}" for name in (
        "decision", "opened", "choice", "source", "watch", "log_options", "parquet_file", "lines", "row", "rotation",
        "log", "decider",
    )),
    "verified", "destination", "ship",
    *(f"ingest.{name}" for name in (
        "layouts", "braces", "lines", "logs", "pool", "spill", "once", "usable", "statements", "joined", "clocks",
        "result", "writing", "traced", "assessed", "ingest",
    )),
    "nuisance", "off_policy", "inferred", "gate", "challenger",
    *(f"drift.{name}" for name in ("finding", "distance", "traffic", "answers", "facts", "measure", "page")),
    *(f"retune.{name}" for name in (
        "division", "standing", "record", "certified", "found", "judging", "estimate", "version", "material", "page",
        "inquiry", "cut_short", "monthly",
    )),
    *(f"year.{name}" for name in (
        "world", "prices", "known", "distinct", "past", "best", "policies", "retuned", "replay", "regret", "picture",
    )),
    "console", "schedule",
    *(f"watching.{name}" for name in ("ledger", "rows", "look")),
    *(f"serve.{name}" for name in (
        "bodies", "connections", "measures", "apart", "together", "service", "spelling", "headers", "chat",
        "upstream", "tiers", "answers", "escalation", "attempt", "course", "passing", "front", "app", "server",
    )),
    "demo", "collect.commands", "simulate.commands", "ship_commands", "schedule_commands", "watching.commands",
    "ingest.commands", "retune.commands", "year.commands", "serve.commands", "cli",
)  # fmt: skip
HEAVY = (
    "numpy",
    "pandas",
    "pyarrow",
    "sklearn",
    "scipy",
    "onnx",
    "onnxruntime",
    "mlflow",
    "matplotlib",
    "pydantic",
    "jinja2",
    "rich",
    "httpx",
    "stamina",
    "jsonschema",
    "starlette",
    "uvicorn",
    "aiohttp",
    "prometheus_client",
)
LIBRARIES = (
    "click", "httptools", "httpx", "jinja2", "joblib", "matplotlib.backends.backend_svg", "onnx", "onnxruntime",
    "pandas", "pyarrow.parquet", "pydantic", "scipy.optimize", "scipy.stats", "sklearn.dummy",
    "sklearn.feature_extraction.text", "sklearn.linear_model", "stamina", "starlette.applications", "uvicorn",
    "aiohttp", "prometheus_client",
)  # fmt: skip
# MLflow runs this one by itself, in a serving process without our packages.
ALONE = "serving_model"
AUDITED = """
import json, os, sys

seen = []
ours = tuple(sys.argv[1:3])

def caller_is_ours():
    frame = sys._getframe(2)
    while frame:
        name = frame.f_code.co_filename
        if name.startswith(ours):
            return True
        if "importlib" not in name and not name.startswith("<"):
            return False
        frame = frame.f_back
    return False

def audit(event, args):
    if event.startswith(("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.mkdir")):
        seen.append([event, str(args)[:200]])
    if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        if not str(args[0]).endswith((".pyc", ".lock")) and ".pyc." not in str(args[0]) and args[0] != os.devnull:
            seen.append([event, str(args)[:200]])

class Watched(type(os.environ)):
    def __getitem__(self, key):
        if caller_is_ours() and key != "ORT_DISABLE_TELEMETRY":  # features/__init__.py says why
            seen.append(["environ", str(key)])
        return super().__getitem__(key)

os.environ.__class__ = Watched
sys.addaudithook(audit)
for module in sys.argv[3:]:
    __import__(module)
print(json.dumps(seen))
"""


def modules(package: Path) -> dict[str, Path]:
    """The package's modules by their dotted names within it."""
    paths = [path for path in sorted(package.rglob("*.py")) if path.stem != "__init__"]
    return {".".join(path.relative_to(package).with_suffix("").parts): path for path in paths}


def imported(path: Path) -> set[str]:
    """Modules that a file imports anywhere, with the names it takes from packages."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_features_import_neither_the_pipeline_nor_scikit_learn(project: Path) -> None:
    for path in modules(project / "features").values():
        roots = {name.split(".")[0] for name in imported(path)}
        assert not roots & {"pipeline", "sklearn", "mlflow", "pandas", "click"}, path


def test_features_load_without_scikit_learn(project: Path) -> None:
    names = [f"features.{name}" for name in modules(project / "features")]
    script = (
        "import sys\nfor name in sys.argv[1:]: __import__(name)\n"
        "print([name for name in ('sklearn', 'pipeline') if name in sys.modules])"
    )
    assert run(script, *names, cwd=project) == "[]\n"


def test_every_module_of_the_pipeline_has_its_place(project: Path) -> None:
    assert set(modules(project / "pipeline")) - {ALONE} <= set(ORDER)


def test_pipeline_imports_run_left_to_right(project: Path) -> None:
    found = modules(project / "pipeline")
    for name, path in found.items():
        if name == ALONE:
            continue
        for other in imported(path):
            package, _, rest = other.partition(".")
            target = rest if rest in found else rest.rpartition(".")[0]
            if package == "pipeline" and target in found and target != name:
                assert target in ORDER[: ORDER.index(name)], f"{path.name} imports {target}, which stands to its right"


def test_serving_model_imports_nothing_of_ours(project: Path) -> None:
    roots = {name.split(".")[0] for name in imported(project / "pipeline" / f"{ALONE}.py")}
    assert not roots & {"features", "pipeline"}


def test_only_four_modules_know_mlflow(project: Path) -> None:
    users = {
        name for name, path in modules(project / "pipeline").items()
        if any(other.split(".")[0] == "mlflow" for other in imported(path))
    }  # fmt: skip
    assert users == {"tracking", "registry", "ingest.assessed", ALONE}


def test_only_the_command_line_prints_and_exits(project: Path) -> None:
    for package in ("features", "pipeline"):
        for name, path in modules(project / package).items():
            calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            used = {ast.unparse(call) for call in calls} & {"print", "exit", "sys.exit", "os._exit"}
            # Two of them are what runs in processes of their own.
            assert not used or name in ("cli", "grade.harness", "serve.apart"), path


def run(script: str, *arguments: str, cwd: Path, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=cwd, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS, env=more or None,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_reads_no_environment_opens_no_socket_and_creates_no_file(
    project: Path, tmp_path: Path, environment: Callable[..., dict[str, str]]
) -> None:
    names = [f"features.{name}" for name in modules(project / "features")]
    # The libraries come first: what they do on import is theirs. MLflow is not loaded by ours at all.
    names += [f"pipeline.{name}" for name in modules(project / "pipeline") if name != ALONE]
    ours = [str(project / package) for package in ("features", "pipeline")]
    script = "".join(f"import {name}\n" for name in LIBRARIES) + AUDITED
    found = run(script, *ours, *names, cwd=tmp_path, **environment(PYTHONPATH=str(project)))
    assert json.loads(found) == []
    assert list(tmp_path.iterdir()) == []


def test_import_of_everything_does_not_load_mlflow(project: Path) -> None:
    names = [f"pipeline.{name}" for name in modules(project / "pipeline") if name != ALONE]
    script = "import sys\nfor name in sys.argv[1:]: __import__(name)\nprint('mlflow' in sys.modules)"
    assert run(script, *names, cwd=project) == "False\n"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["train", "--help"], ["tune", "--help"], ["route", "--help"], ["collect", "--help"], ["--version"]],
)
def test_help_loads_no_heavy_library(project: Path, arguments: list[str]) -> None:
    script = (
        "import sys\nfrom pipeline import cli\nsys.argv = ['tier-router', *sys.argv[1:]]\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert run(script, *arguments, cwd=project).splitlines()[-1] == "[]"


@pytest.mark.parametrize(("given", "kept"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")])
def test_onnxruntime_is_told_to_report_nothing_unless_the_user_said_otherwise(
    environment: Callable[..., dict[str, str]], given: dict[str, str], kept: str
) -> None:
    program = "import sys, os, features; print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", program], env=environment(**given), capture_output=True, text=True, check=True,
        timeout=WAIT_SECONDS,
    )  # fmt: skip
    assert told.stdout.split() == [kept, "False"]

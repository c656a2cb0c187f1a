"""MLflow: the embedded store, a real server, aliases, and the model that predicts from raw requests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from features.request import Request
from pipeline.served import Served

WAIT_SECONDS = 90
Run = Callable[..., dict[str, Any]]

RECORD = """
import json, sys
from pathlib import Path
from pipeline import tracking
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
found = tracking.record(tracking.prepare(out), folder)
print(json.dumps([found.run_id, found.alias, found.store]))
"""
ASK = """
import json, sys
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
run = client.get_run(sys.argv[2])
model = mlflow.pyfunc.load_model("models:/tier-router@champion")
requests = json.loads(sys.argv[3])
print(json.dumps({
    "params": run.data.params, "metrics": run.data.metrics, "tags": run.data.tags,
    "digests": [each.dataset.digest for each in run.inputs.dataset_inputs],
    "files": [each.path for each in client.list_artifacts(run.info.run_id, "artifact")],
    "artifacts": run.info.artifact_uri,
    "champion": client.get_model_version_by_alias("tier-router", "champion").run_id,
    "frame": model.predict(pandas.DataFrame(requests)).to_dict("list"),
    "listed": model.predict(requests["prompt"])["use_pro"].tolist(),
}))
"""
PROMPTS = {"prompt": ["prove the integral lemma", "city river 3", ""], "turn_count": [1, 4, 1]}


@pytest.fixture(scope="module")
def python(project: Path, environment: Callable[..., dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a script in a process of its own and read what it prints as JSON: MLflow keeps state per process."""

    def run(script: str, *arguments: object, **more: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)], cwd=tmp_path_factory.mktemp("cwd"),
            env=environment(PYTHONPATH=str(project), **more),
            capture_output=True, text=True, check=False, timeout=WAIT_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def embedded(trained: Any, python: Run) -> dict[str, Any]:
    """What the embedded store answers about the first training, from another process."""
    address = f"sqlite:///{trained.out.resolve() / 'mlflow.db'}"
    return python(ASK, address, trained.summary["mlflow"]["run"], json.dumps(PROMPTS))


def test_first_training_is_champion_and_the_second_challenger(trained: Any, retrained: Any) -> None:
    assert trained.summary["mlflow"]["alias"] == "champion"
    assert retrained.summary["mlflow"]["alias"] == "challenger"


def test_champion_predicts_from_raw_requests_as_the_file_does(trained: Any, embedded: dict[str, Any]) -> None:
    served, _ = Served.open(trained.folder)
    for at, (prompt, turns) in enumerate(zip(PROMPTS["prompt"], PROMPTS["turn_count"], strict=True)):
        outputs = served.decide(Request(prompt, turn_count=turns))
        assert embedded["frame"]["use_pro"][at] == bool(outputs["use_pro"][0])
        assert embedded["frame"]["gain"][at] == pytest.approx(float(outputs["gain"][0]))
        found = [embedded["frame"][f"{tier}_probability"][at] for tier in ("flash", "pro")]
        assert found == pytest.approx(outputs["probabilities"][0].tolist())


def test_champion_takes_a_list_of_prompts(trained: Any, embedded: dict[str, Any]) -> None:
    served, _ = Served.open(trained.folder)
    expected = [bool(served.decide(Request(prompt))["use_pro"][0]) for prompt in PROMPTS["prompt"]]
    assert embedded["listed"] == expected


def test_run_keeps_parameters_metrics_digest_and_files(trained: Any, embedded: dict[str, Any]) -> None:
    manifest = trained.manifest
    assert embedded["params"]["objective"] == str({"name": "min_quality", "value": 0.98})
    assert float(embedded["params"]["threshold"]) == manifest["threshold"]
    assert embedded["metrics"]["test_apgr"] == manifest["metrics"]["test"]["apgr"]["value"]
    assert embedded["metrics"]["tune_accuracy_low"] == manifest["metrics"]["tune"]["accuracy"]["low"]
    assert embedded["tags"]["data.sha256"] == manifest["data"]["sha256"]
    assert embedded["tags"]["data.simulated"] == "false"
    assert embedded["digests"] == [manifest["data"]["sha256"][:36]]
    names = {Path(name).name for name in embedded["files"]}
    assert names == {"router.onnx", "scorer.onnx", "router.joblib", "manifest.json", "report.html", "held_out.parquet"}


def test_embedded_store_lives_under_out(trained: Any, embedded: dict[str, Any]) -> None:
    assert embedded["artifacts"].startswith(trained.out.resolve().as_uri())


def test_training_leaves_nothing_outside_out(trained: Any) -> None:
    assert trained.left_in_cwd == ("models", "traces.jsonl")


def test_second_folder_in_one_process_gets_a_store_of_its_own(tmp_path: Path, python: Run) -> None:
    script = (
        "import json, sys\nfrom pathlib import Path\nfrom pipeline import tracking\n"
        "for folder in sys.argv[1:]:\n    tracking.prepare(Path(folder))\n"
        "print(json.dumps([(Path(folder) / 'mlflow.db').exists() for folder in sys.argv[1:]]))"
    )
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    assert python(script, tmp_path / "one", tmp_path / "other") == [True, True]


@pytest.fixture(scope="module", autouse=True)
def starting(
    tmp_path_factory: pytest.TempPathFactory, environment: Callable[..., dict[str, str]]
) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """A real tracking server on loopback with a store of its own, which starts while the other tests run."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder / "files"),
        "--workers", "1",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield f"http://127.0.0.1:{port}", process, folder / "log"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=WAIT_SECONDS)


@pytest.fixture(scope="module")
def server(starting: tuple[str, subprocess.Popen[bytes], Path]) -> str:
    """The address of the server, once it answers."""
    wait_for(*starting)
    return starting[0]


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    last = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < last and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the MLflow server did not answer: {log.read_text()[-2000:]}")


def test_real_server_takes_the_run_and_serves_the_champion(
    server: str, trained: Any, tmp_path: Path, python: Run
) -> None:
    run, alias, store = python(RECORD, trained.folder, tmp_path / "models", MLFLOW_TRACKING_URI=server)
    assert (alias, store) == ("champion", server)
    found = python(ASK, server, run, json.dumps(PROMPTS))
    assert found["champion"] == run
    assert found["artifacts"].startswith("mlflow-artifacts:")
    assert not (tmp_path / "models").exists()
    served, _ = Served.open(trained.folder)
    assert found["listed"] == [bool(served.decide(Request(prompt))["use_pro"][0]) for prompt in PROMPTS["prompt"]]

"""MLflow: the embedded store, a real server, aliases, and the model that predicts from raw requests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from shipping import another

from features.errors import StorageError
from features.request import Request
from pipeline import pointer
from pipeline.recorder import Recorder, recorder
from pipeline.served import Served
from pipeline.ship import SERVED_ELSEWHERE, rollback, ship

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
OPEN = """
import json, sys
from pipeline.runtime.decider import Decider, Options
with Decider.open(sys.argv[1], Options(explore=0.0)) as decider:
    print(json.dumps([decider.version, decider.decide("prove the integral lemma").gain]))
"""
REFUSED = """
import json, sys
from features.errors import ArtifactError
from pipeline.runtime.decider import Decider
try:
    Decider.open(sys.argv[1])
except ArtifactError as error:
    print(json.dumps(str(error)))
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
    assert embedded["tags"]["router.sha256"] == manifest["onnx"]["router"]["sha256"]
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


@pytest.fixture(scope="module")
def recorded(server: str, trained: Any, tmp_path_factory: pytest.TempPathFactory, python: Run) -> tuple[str, str, str]:
    """Run, alias and store of the first training, recorded on the server; nothing is written where it is called."""
    out = tmp_path_factory.mktemp("recorded") / "models"
    run, alias, store = python(RECORD, trained.folder, out, MLFLOW_TRACKING_URI=server)
    assert not out.exists()
    return run, alias, store


def test_real_server_takes_the_run_and_serves_the_champion(
    server: str, trained: Any, recorded: tuple[str, str, str], python: Run
) -> None:
    run, alias, store = recorded
    assert (alias, store) == ("champion", server)
    found = python(ASK, server, run, json.dumps(PROMPTS))
    assert found["champion"] == run
    assert found["artifacts"].startswith("mlflow-artifacts:")
    served, _ = Served.open(trained.folder)
    assert found["listed"] == [bool(served.decide(Request(prompt))["use_pro"][0]) for prompt in PROMPTS["prompt"]]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, trained: Any, retrained: Any) -> Path:
    """A copy of the store with v1 and v2."""
    folder = tmp_path_factory.mktemp("shipping")
    shutil.copyfile(trained.out / "mlflow.db", folder / "mlflow.db")
    for version in (trained, retrained):
        shutil.copytree(version.folder, folder / version.folder.name)
    return folder


@pytest.fixture(scope="module")
def opened(out: Path) -> Iterator[Recorder]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with recorder(out) as store:
            yield store


@pytest.fixture
def store(opened: Recorder) -> Recorder:
    """The copied store, in which v1 is champion."""
    opened.crown("1")
    return opened


def champion(out: Path) -> str | None:
    """The number of the model version that has the alias, as it stands in the store."""
    with closing(sqlite3.connect(out / "mlflow.db")) as database:
        found = database.execute("SELECT version FROM registered_model_aliases WHERE alias = 'champion'").fetchone()
    return found and str(found[0])


def current(dest: Path) -> str:
    found = pointer.read(dest)
    assert found is not None
    return found.current.split("-")[0]


def test_champion_is_what_is_shipped_and_rolled_back_to(tmp_path: Path, out: Path, store: Recorder) -> None:
    dest = tmp_path / "dest"
    assert ship(out / "v1", dest, recorder=store).model_version == champion(out) == "1"
    assert ship(out / "v2", dest, recorder=store).model_version == champion(out) == "2"
    back = rollback(dest, recorder=store)
    assert (back.model_version, back.notes) == ("1", ())
    assert (champion(out), current(dest)) == ("1", "v1")


def test_champion_stays_where_the_shipped_version_was_not_recorded(tmp_path: Path, out: Path, store: Recorder) -> None:
    shipped = ship(another(out / "v1", tmp_path, 7), tmp_path / "dest", recorder=store)
    assert (shipped.model_version, shipped.notes) == (None, (SERVED_ELSEWHERE,))
    assert (champion(out), current(tmp_path / "dest")) == ("1", "v7")


@pytest.mark.parametrize("before", ["1", ""], ids=["from another version", "from none"])
def test_champion_moves_with_the_pointer_or_not_at_all(tmp_path: Path, out: Path, store: Recorder, before: str) -> None:
    store.crown(before)
    dest = tmp_path / "dest"
    (dest / "current.json").mkdir(parents=True)  # no file can take its place
    with pytest.raises(StorageError, match="Is a directory"):
        ship(out / "v2", dest, recorder=store)
    assert champion(out) == (before or None)
    assert sorted(path.name for path in dest.iterdir()) == [".lock", "current.json"]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DROP TABLE registered_model_aliases", r"the alias champion .* --no-alias"),
        ("", r"MLflow store .* cannot be used"),
    ],
    ids=["to move the alias", "to be opened"],
)
def test_store_that_refuses_leaves_what_is_served(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, statement: str, told: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    models, dest = tmp_path / "models", tmp_path / "dest"
    models.mkdir()
    shutil.copyfile(out / "mlflow.db", models / "mlflow.db")
    if not statement:
        (models / "mlflow.db").write_bytes(b"no database" * 1000)
    ship(out / "v1", dest)
    with recorder(models) as store:
        if statement:
            store.find("0")  # it is open
            with closing(sqlite3.connect(models / "mlflow.db")) as database:
                database.execute(statement)
        with pytest.raises(StorageError, match=told):
            ship(out / "v2", dest, recorder=store)
    assert current(dest) == "v1"
    assert [path.name for path in dest.iterdir() if path.name.startswith("v2")] == []


@pytest.mark.parametrize("asked", ["to be opened", "to move the alias"])
def test_store_that_another_process_holds_is_named_with_a_remedy(
    tmp_path: Path, out: Path, trained: Any, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copyfile(trained.out / "mlflow.db", tmp_path / "mlflow.db")
    said = rf"{tmp_path}/mlflow.db is locked by another process .*`mlflow ui`.* run this again, which is safe"
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, recorder(tmp_path) as store:
        if asked == "to move the alias":
            store.find("0")  # it is open
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match=said):
            store.crown("2")
    assert champion(tmp_path) == "1"


def test_real_server_moves_the_champion(
    server: str, recorded: tuple[str, str, str], tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    with recorder(tmp_path) as store:
        store.crown("")
        assert ship(out / "v1", tmp_path / "dest", recorder=store).model_version == "1"
        assert store.crown("1") == "1"


@pytest.mark.parametrize("name", ["@champion", "/1"])
def test_decider_opens_an_address_of_the_registry(python: Run, trained: Any, name: str) -> None:
    store = f"sqlite:///{trained.out / 'mlflow.db'}"
    version, gain = python(OPEN, f"models:/tier-router{name}", MLFLOW_TRACKING_URI=store)
    served, manifest = Served.open(trained.out / "v1")
    assert version == f"v1-{manifest['onnx']['router']['sha256'][:12]}"
    assert gain == served.decide(Request("prove the integral lemma"))["gain"][0]


@pytest.mark.parametrize(
    ("address", "store", "said"),
    [
        ("models:/tier-router@nobody", None, "leads to no model"),
        ("models:/tier-router", None, "leads to no model"),
        ("models:/tier-router@champion", "foo://nowhere", "leads to no model"),
        ("models:/tier-router@champion", "", "MLFLOW_TRACKING_URI is not set"),
    ],
)
def test_address_that_leads_to_no_version_is_refused(
    python: Run, trained: Any, address: str, store: str | None, said: str
) -> None:
    store = f"sqlite:///{trained.out / 'mlflow.db'}" if store is None else store
    assert said in python(REFUSED, address, MLFLOW_TRACKING_URI=store)

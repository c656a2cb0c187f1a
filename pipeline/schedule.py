"""Files that have a machine retune every month and watch every day: systemd, cron, GitHub Actions, Kubernetes.

The templates stand in `schedules/`. What they run is `tier-router retune` and, daily, `ingest` and `watch`, in the
folder of the configuration file, which is what the paths in it are relative to.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any
from zlib import crc32

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from features.errors import InputError
from pipeline import settings
from pipeline.console import ALARM, BAD_INPUT, FAILURE, KEPT, NOT_ENOUGH
from pipeline.settings import Retuning

TEMPLATES = Path(__file__).with_name("schedules")
KINDS = ("systemd", "crontab", "github", "kubernetes")
PROMOTED = QUIET = 0
ENDS = MappingProxyType(
    {
        PROMOTED: "a new version is served",
        KEPT: "the champion stays",
        NOT_ENOUGH: "not enough evidence: what is served stays",
        FAILURE: "a failure",
        BAD_INPUT: "bad input",
        ALARM: "the served version breaks its claim",
    }
)
LONGEST_S = 7_200  # forty times what a month of a million rows may take
MEMORY_GIB = 4
NICE = 10
JITTER_MINUTES = 15
BUSY = 75  # what flock is told to end with where the same job still runs
LONGEST_CRON_LINE = 998  # Debian's cron cuts longer commands
# Where the retune leaves its pages, as `retune.record` has it, which loads what no schedule needs.
PAGES, PAGE = "retunes", "page.html"
MOUNTED = PurePosixPath("/data")  # in the container
USUAL_HOUR, HOURS, MINUTES, LAST_DAY = 4, 24, 60, 28
WHEN = re.compile(r"([0-9]{1,2}) ([0-9]{1,2}):([0-9]{2})")


@dataclass(frozen=True, slots=True)
class Moment:
    """Once a month: a day that every month has, and a time.

    Attributes:
        day: 1 to 28.
        hour: 0 to 23.
        minute: 0 to 59.
    """

    day: int
    hour: int
    minute: int

    @classmethod
    def of(cls, text: str) -> Moment:
        """A moment from its text.

        >>> Moment.of("1 04:30")
        Moment(day=1, hour=4, minute=30)

        Raises:
            InputError: it is none, or one that not every month has.
        """
        found = WHEN.fullmatch(text.strip())
        day, hour, minute = map(int, found.groups()) if found else (0, 0, 0)
        if not (1 <= day <= LAST_DAY and hour < HOURS and minute < MINUTES):
            raise InputError(f"--when {text!r}: expected a day of the month, 1 to {LAST_DAY}, and a time, as '1 04:30'")
        return cls(day, hour, minute)

    @classmethod
    def usual(cls, seat: str) -> Moment:
        """The first of the month after four, at a minute of its own for every `seat`, so that not all start at once."""
        return cls(1, USUAL_HOUR, crc32(seat.encode()) % MINUTES)


@dataclass(frozen=True, slots=True)
class Job:
    """One thing that is done again and again.

    Attributes:
        name: "retune" or "watch".
        often: how often, in a word.
        commands: their arguments after `tier-router`, run in this order as long as they end with 0.
        good: exit codes that are good ends, 0 first; nobody is called for them.
        bad: exit codes that mean something, besides these.
        final: exit codes that another attempt would not change.
        cron: when, in the five fields of cron.
        calendar: the same for systemd, in UTC.
    """

    name: str
    often: str
    commands: tuple[tuple[str, ...], ...]
    good: tuple[int, ...]
    bad: tuple[int, ...]
    final: tuple[int, ...]
    cron: str
    calendar: str

    @property
    def unit(self) -> str:
        """What everything of the job is called."""
        return f"tier-router-{self.name}"

    def shell(self, command: str) -> str:
        """Its commands as one line for a shell."""
        return " && ".join(shlex.join((command, *arguments)) for arguments in self.commands)


@dataclass(frozen=True, slots=True)
class Installation:
    """Where Tier Router stands on a machine.

    Attributes:
        config: the configuration, as an absolute path.
        command: `tier-router`, as an absolute path or a name that the container knows.
        user: who owns what it writes.
        retuning: what the configuration says of the retune.
        when: when to retune, UTC; cron on a machine takes it in the machine's own time.
    """

    config: Path
    command: str
    user: str
    retuning: Retuning
    when: Moment

    def __post_init__(self) -> None:
        for text in (str(self.config), self.command, *self.named):
            if not text.isprintable():
                raise InputError(f"{text!r}: a schedule cannot hold this path: use one without control characters")

    @property
    def folder(self) -> Path:
        """Where the jobs run."""
        return self.config.parent

    @property
    def named(self) -> tuple[str, ...]:
        """All paths that the configuration names."""
        said = self.retuning
        return (*said.logs, *said.outcomes, *said.traces, *said.audit, said.out, *([said.dest] if said.dest else ()))

    @property
    def written(self) -> tuple[Path, ...]:
        """Folders that the jobs write."""
        names = (self.retuning.out, self.retuning.dest)
        return tuple(dict.fromkeys(self.folder / name for name in names if name))


def read(config: Path) -> Retuning:
    """The table [retune] of a configuration.

    Raises:
        InputError: no such file, a table that is not one, or one without logs.
    """
    found = settings.read(config).retune
    if not found.logs:
        raise InputError(f"{config}: [retune] names no 'logs': name the folders of the decision logs")
    return found


def files(kind: str, at: Installation, *, watch: bool) -> dict[str, str]:
    """The files of a schedule, by name.

    Args:
        kind: one of `KINDS`.
        at: the installation that they are for.
        watch: whether to watch daily as well.

    Raises:
        InputError: a line that cron would cut, a command that systemd would not start.
    """
    jobs = (_retune(at), _watch(at)) if watch else (_retune(at),)
    if kind == "systemd":
        _startable(at.command)
        return {f"{job.unit}.{suffix}": _filled(suffix, at, job=job) for job in jobs for suffix in ("service", "timer")}
    if kind == "github":
        return {f"{job.unit}.yml": _filled("workflow.yml", at, job=job) for job in jobs}
    if kind == "kubernetes":
        return {"tier-router.yaml": _filled("cronjob.yaml", at, jobs=jobs)}
    text = _filled("crontab", at, jobs=jobs)
    if longest := max((line for line in text.splitlines() if len(line.encode()) > LONGEST_CRON_LINE), default=""):
        raise InputError(
            f"{at.config}: the line for cron would have {len(longest.encode()):,} bytes, and cron cuts commands after "
            f"{LONGEST_CRON_LINE}: take shorter paths, or systemd"
        )
    return {"tier-router.crontab": text}


def _startable(command: str) -> None:
    if set(command) & set("'\"\\"):
        raise InputError(
            f"{command}: systemd starts no command whose path has quotes or backslashes in it: "
            "name another with --command PATH, such as a link to it"
        )


def _retune(at: Installation) -> Job:
    when = at.when
    return Job(
        "retune", "monthly", (("retune", "--config", at.config.name),), (PROMOTED, KEPT, NOT_ENOUGH),
        (FAILURE, BAD_INPUT), (BAD_INPUT,), f"{when.minute} {when.hour} {when.day} * *",
        f"*-*-{when.day:02} {when.hour:02}:{when.minute:02}:00 UTC",
    )  # fmt: skip


def _watch(at: Installation) -> Job:
    """Twelve hours off the retune, so that they never meet."""
    said, minute, hour = at.retuning, at.when.minute, (at.when.hour + HOURS // 2) % HOURS
    if not said.dest:
        raise InputError(f"{at.config}: [retune] names no 'dest' that could be watched: name it, or give --watch no")
    evidence = str(PurePosixPath(said.out) / "watch" / "evidence.parquet")
    traced = ("--mlflow", said.mlflow, "--store", said.out) if said.mlflow else ()
    ingest = ("ingest", *said.logs, *_each("--outcomes", said.outcomes), *traced, "--out", evidence)
    # Who promotes what is not shown to be better has the watch take it back.
    back = ("--rollback",) if said.unsure == "promote" else ()
    look = ("watch", said.dest, "--evidence", evidence, *_each("--audit", said.audit), "--store", said.out, *back)
    return Job(
        "watch", "daily", (ingest, look), (QUIET, NOT_ENOUGH), (FAILURE, BAD_INPUT, ALARM), (BAD_INPUT, ALARM),
        f"{minute} {hour} * * *", f"*-*-* {hour:02}:{minute:02}:00 UTC",
    )  # fmt: skip


def _each(option: str, values: tuple[str, ...]) -> Iterator[str]:
    for value in values:
        yield from (option, value)


def _filled(template: str, at: Installation, **more: Any) -> str:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,  # noqa: S701  # none is HTML; each kind has a quoting of its own
    )  # fmt: skip
    made.filters |= {"unit": _unit, "path": _specified, "shell": shlex.quote, "yaml": _yaml, "cron": _cron, "pod": _pod}
    return made.get_template(f"{template}.j2").render(at=at, **_numbers(), **more)


def _numbers() -> Mapping[str, Any]:
    return {
        "ends": ENDS, "longest_s": LONGEST_S, "memory_gib": MEMORY_GIB, "nice": NICE, "busy": BUSY,
        "jitter_minutes": JITTER_MINUTES, "pages": PAGES, "page": PAGE, "mounted": str(MOUNTED),
    }  # fmt: skip


def _specified(text: object) -> str:
    """A path that stands alone in a unit, where a per cent sign begins a specifier."""
    return str(text).replace("%", "%%")


def _unit(text: object) -> str:
    r"""A word of a list or a command in a unit.

    >>> print(_unit('50% of "a b"'))
    "50%% of \"a b\""
    """
    escaped = _specified(text).replace("\\", "\\\\").replace('"', '\\"')
    return escaped if re.fullmatch(r"[\w@%+=:,./-]+", escaped, re.ASCII) else f'"{escaped}"'


def _yaml(text: object) -> str:
    return json.dumps(str(text), ensure_ascii=False)


def _cron(command: str) -> str:
    """A command in a crontab, where a per cent sign ends the line."""
    return command.replace("%", "\\%")


def _pod(command: str) -> str:
    """A command in a manifest, where Kubernetes would put in variables."""
    return command.replace("$(", "$$(")

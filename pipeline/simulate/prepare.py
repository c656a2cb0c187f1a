"""The files of a practice pair: its tasks, what is true of them, and how to reach it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from features.errors import InputError
from pipeline.beside import replacing
from pipeline.simulate import kinds
from pipeline.simulate.ability import TIERS, Best, best
from pipeline.simulate.options import Options
from pipeline.simulate.replies import PRICES

TASKS, TRUTH, CONFIG = "tasks.jsonl", "truth.json", "pair.toml"
# The best APGR is that of the population: of other tasks, and more of them than anybody collects.
POPULATION, POPULATION_SEED = 20_000, -1


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of prepared tasks.

    Attributes:
        count, seed: of the tasks.
        best_apgr: that any router could reach.
        accuracy: by tier: `expected`, the mean probability of a right answer, and `drawn`, the share that is right.
        by_kind: the same with the `count`, by kind of task.
    """

    count: int
    seed: int
    best_apgr: Best
    accuracy: dict[str, dict[str, float]]
    by_kind: dict[str, dict[str, Any]]

    def printed(self) -> dict[str, Any]:
        """As plain values."""
        return {"simulated": True, **asdict(self)}


def prepare(folder: Path, count: int, seed: int) -> Truth:
    """Write `tasks.jsonl` and `truth.json`, each whole or not at all.

    Args:
        folder: made if it is not there.
        count: tasks, >= 1.
        seed: of the tasks; the same tasks come from the same seed.

    Raises:
        InputError: no tasks.
        StorageError: they cannot be written.
    """
    if count < 1:
        raise InputError(f"simulate: count = {count}: expected at least 1 task")
    chances: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in kinds.KINDS}

    def lines() -> Iterable[str]:
        for task in kinds.tasks(count, seed):
            chances[task.kind].append((*task.chances, *(task.right(tier) for tier in TIERS)))
            yield json.dumps(task.line, ensure_ascii=False) + "\n"

    _write(folder / TASKS, lines())
    truth = Truth(count, seed, population_best(), *_accuracies(chances))
    _write(folder / TRUTH, [json.dumps(truth.printed(), indent=2) + "\n"])
    return truth


def known(folder: Path) -> Truth | None:
    """What is true of the tasks that a folder holds; None where it holds none.

    Raises:
        InputError: the file is none of these.
    """
    path = folder / TRUTH
    if not path.exists():
        return None
    try:
        printed = json.loads(path.read_text(encoding="utf-8"))
        held = {name: printed[name] for name in ("count", "seed", "accuracy", "by_kind")}
        return Truth(best_apgr=Best(**printed["best_apgr"]), **held)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {error}; remove it, and the tasks are made anew") from None


def check(folder: Path, count: int | None, seed: int | None) -> Truth | None:
    """See that a pair would know the tasks that a folder holds, if it holds any; returns what is true of them.

    Raises:
        InputError: they are other tasks, or more or fewer, than those asked for; None asks for what is there.
    """
    truth = known(folder)
    if truth and (count not in (None, truth.count) or seed not in (None, truth.seed)):
        asked = [f"{count:,} tasks" if count is not None else "", f"seed {seed}" if seed is not None else ""]
        raise InputError(
            f"{folder / TRUTH}: {truth.count:,} tasks of seed {truth.seed} were prepared here, and not "
            f"{' of '.join(filter(None, asked))}: serve those, or choose another folder"
        )
    return truth


def found_or_made(folder: Path, count: int | None = None, seed: int | None = None) -> Truth:
    """The tasks that a folder holds, or new ones in it.

    Args:
        folder: made if it is not there.
        count: tasks; None: as many as are there, else `Options.count`.
        seed: of the tasks; None: that of those that are there, else `Options.seed`.

    Raises:
        InputError: other tasks than these were prepared in the folder.
        StorageError: it cannot be written.
    """
    usual = Options()
    return check(folder, count, seed) or prepare(
        folder, usual.count if count is None else count, usual.seed if seed is None else seed
    )


def population_best() -> Best:
    """The best APGR of the population, from tasks that are given to nobody."""
    return best([kinds.task(POPULATION_SEED, number).chances for number in range(POPULATION)])


def _accuracies(chances: dict[str, list[tuple[float, ...]]]) -> tuple[dict[str, Any], dict[str, Any]]:
    by_kind = {kind: {"count": len(rows), **_means(rows)} for kind, rows in chances.items() if rows}
    return _means([row for rows in chances.values() for row in rows]), by_kind


def _means(rows: Sequence[tuple[float, ...]]) -> dict[str, dict[str, float]]:
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return {tier: {"expected": means[at], "drawn": means[at + len(TIERS)]} for at, tier in enumerate(TIERS)}


def _write(path: Path, lines: Iterable[str]) -> None:
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(lines)


def write_config(folder: Path, base_url: str, key_env: str | None = None) -> Path:
    """Write `config` to `pair.toml`, whole or not at all; returns its path.

    Raises:
        StorageError: it cannot be written.
    """
    _write(folder / CONFIG, [config(base_url, key_env)])
    return folder / CONFIG


def config(base_url: str, key_env: str | None = None) -> str:
    """The file for --config that leads to a pair: TOML text.

    Args:
        base_url: of the pair, such as "http://127.0.0.1:8000".
        key_env: environment variable with the key that it asks for, or None.
    """
    key = f'key_env = "{key_env}"\n' if key_env else ""
    tables = {f"tiers.{tier}": tier for tier in TIERS} | {"judge": "judge"}
    tiers = [
        f'[{table}]\nmodel = "simulated-{name}"\nprice = "simulated-{name}"\nbase_url = "{base_url}/{name}/v1"\n{key}'
        for table, name in tables.items()
    ]
    prices = [
        f'[[price]]\ndeployment = "simulated-{tier}"\nfrom = 2026-01-01\n'
        + "".join(f"{name} = {usd}\n" for name, usd in price.items())
        + 'source = "simulated"\n'
        for tier, price in PRICES.items()
    ]
    return "\n".join([*tiers, *prices])

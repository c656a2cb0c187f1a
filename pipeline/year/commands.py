"""The command that replays a year."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.console import AS_JSON, FILE, steps

if TYPE_CHECKING:
    from pipeline.year.replay import Spent

PROCESSES = 2


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Years to replay, a seed each.")
@click.option(
    "--out", type=FILE, default=Path("models/year.csv"), show_default=True, help="All months of all policies, as CSV."
)
@click.option("--plot", type=FILE, help="The regret by month. [default: OUT with the ending .svg]")
@AS_JSON
def year(seeds: int, out: Path, plot: Path | None, as_json: bool) -> None:
    """Replay the bundle's real tasks as twelve months of traffic, with and without retunes, and show what each costs.

    Flash gets worse in month 5, pro's prices fall to a third in month 8, half of the traffic is of another kind from
    month 9 on. Outcomes come up to a month late, 30 % never, and 2 % of the requests explore. The tasks and answers
    are real; what happens to them is simulated. Regret is what a policy costs above the best ten-feature router that
    knows both answers to everything; exploration and audits count. "retuned" is tier-router retune with its defaults
    and an audit of 500 tasks a quarter, as it advises; "unsure promotes" is [retune] unsure = "promote" with 50.
    """
    from pipeline.year import picture, regret
    from pipeline.year.replay import CONTROLS, UNSURE
    from pipeline.year.world import Events

    with steps() as step:
        spent = _replayed(seeds, step)
    found = regret.regrets(spent)
    regret.write(out, spent)
    drawn = plot or out.with_suffix(".svg")
    picture.write(drawn, [each for each in found if each.policy not in CONTROLS], UNSURE, Events())
    if as_json:
        values = [
            asdict(each) | {"monthly": each.monthly.tolist()} | ({"standard_error": None} if each.seeds == 1 else {})
            for each in found
        ]
        click.echo(json.dumps({"simulated": regret.SIMULATED, "regrets": values}, indent=2))
        return
    for line in (*regret.told(found), str(out), str(drawn)):
        click.echo(line)


def _replayed(seeds: int, step: Callable[[str], None]) -> list[Spent]:
    """Two processes, since little of the work runs in threads; each retune takes longer than all the others."""
    from joblib import Parallel, delayed

    from pipeline.config import BUNDLE
    from pipeline.year.replay import POLICIES, RETUNED, UNSURE, replay_file

    slow = RETUNED, UNSURE
    shares = *([name] for name in slow), [name for name in POLICIES if name not in slow]
    jobs = [(seed, names) for seed in range(seeds) for names in shares]
    spent: dict[tuple[int, int, str], Spent] = {}
    step("replaying: about half a minute for each seed")
    years = Parallel(n_jobs=PROCESSES, return_as="generator")(delayed(replay_file)(BUNDLE, *job) for job in jobs)
    for done, months in enumerate(years, start=1):
        spent |= {(each.seed, each.month, each.policy): each for each in months}
        step(f"replaying: {done} of {len(jobs)} parts done")
    return list(spent.values())

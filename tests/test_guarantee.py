"""The guarantee: against a bet placed group by group, exact enumeration, simulated data sets and MAPIE."""

from __future__ import annotations

from itertools import product
from math import exp, log, log1p, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapie.risk_control import BinaryClassificationController, BinaryRisk

from features.errors import InputError
from pipeline import guarantee
from pipeline.guarantee import Claim, codes, labels_needed, last_certified, p_values
from tests.bench.guarantee import Rows, Setting, at_the_boundary, bounded, chosen

STEPS = 5
DATA_SETS = 300
# What a row brings: flash's and pro's outcome, its group and its place.
Row = tuple[bool, bool, int, int]
rows_of = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.integers(-3, 8), st.integers(1, STEPS)), min_size=1, max_size=40
)
claims = st.builds(
    Claim,
    st.sampled_from(guarantee.FORMS),
    st.sampled_from([0.01, 0.1, 0.5, 0.75, 0.98]),
    st.sampled_from([0.5, 0.8, 0.95]),
)


def table(rows: list[Row]) -> Rows:
    columns = np.array(rows, dtype=float)
    groups, place = columns[:, 2:].T.astype(np.int64)
    return Rows(columns[:, :2], groups, place, STEPS)


def evidence(claim: Claim, rows: Rows) -> np.ndarray:
    return p_values(claim, rows.outcomes, rows.groups, rows.place, rows.steps)


def bet(claim: Claim, sums: list[float], most: float) -> tuple[float, float]:
    """Last and highest wealth of the bets of one step, group by group."""
    goal = -log(1 - claim.confidence_level) + guarantee.ROUNDING
    wealth = highest = wager = 0.0
    squares, due = (most / 2) ** 2, 0
    for at, lost in enumerate(sums):
        if at == due:
            left = len(sums) - at
            due += max(1, left // guarantee.REBETS)
            mean_square = (squares + sum(each**2 for each in sums[:at])) / (at + 1)
            aim = sqrt(2 * max(goal - wealth, 0) / (left * mean_square))
            wager = min(aim, guarantee.BOLDEST / most)
        wealth += log1p(-wager * lost)
        if at + 1 == due:
            highest = max(highest, wealth)
    return wealth, highest


def group_sums(claim: Claim, rows: Rows, step: int) -> tuple[list[float], float]:
    """What each group loses beyond its allowance, in the order of bets, and the most it could lose."""
    flash, pro = rows.outcomes.T
    routed = np.where(rows.place <= step, flash, pro)
    lost = pro - routed - claim.bound if claim.form == "points" else claim.bound * pro - routed
    names = np.unique(rows.groups)
    largest = 1 - claim.bound if claim.form == "points" else claim.bound
    return [float(lost[rows.groups == name].mean()) for name in names], largest


def test_group_counts_once_however_large_it_is() -> None:
    claim, random = Claim("points", 0.05), np.random.default_rng(3)
    outcomes = np.column_stack([random.random(900) < 0.8, random.random(900) < 0.8]).astype(float)
    place, groups = random.integers(1, STEPS + 1, 900), np.arange(900)
    one = Rows(outcomes, groups, place, STEPS)
    hundred = Rows(
        *(np.concatenate([np.repeat(each[:1], 100, 0), each[1:]]) for each in (outcomes, groups, place)), STEPS
    )
    assert evidence(claim, hundred) == pytest.approx(evidence(claim, one))


def test_rare_large_groups_that_a_sample_happens_to_lack_do_not_break_the_guarantee() -> None:
    """Single tasks are always right, one group of three in fifty always wrong: the claim is just broken."""
    claim, broken, sets = Claim("ratio", 0.98), 0, 400
    for seed in range(sets):
        random = np.random.default_rng(seed)
        sizes = np.where(random.random(200) < 0.0202, 3, 1)
        groups = np.repeat(np.arange(200), sizes)
        outcomes = np.column_stack([sizes[groups] == 1, np.ones(len(groups))]).astype(float)
        found = p_values(claim, outcomes, groups, np.ones(len(groups), np.int64), 2)
        broken += last_certified(found, claim) == 1
    assert broken / sets <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / sets)


@given(claims, rows_of)
def test_p_values_are_those_of_bets_placed_group_by_group(claim: Claim, rows: list[Row]) -> None:
    data = table(rows)
    expected = [exp(-bet(claim, *group_sums(claim, data, step))[1]) for step in range(1, STEPS)]
    assert evidence(claim, data)[1:] == pytest.approx(expected, rel=1e-6)


def test_many_groups_are_bet_on_in_rounds_as_group_by_group() -> None:
    random = np.random.default_rng(0)
    rows = Rows(
        (random.random((900, 2)) < [0.7, 0.8]).astype(float), random.integers(0, 600, 900),
        random.integers(1, STEPS + 1, 900), STEPS,
    )  # fmt: skip
    claim = Claim("ratio", 0.8)
    expected = [exp(-bet(claim, *group_sums(claim, rows, step))[1]) for step in range(1, STEPS)]
    assert evidence(claim, rows)[1:] == pytest.approx(expected, rel=1e-6)


@given(claims, rows_of, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(claim: Claim, rows: list[Row], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert evidence(claim, table(rows)).tolist() == evidence(claim, table(shuffled)).tolist()


@given(claims, rows_of)
def test_numbers_of_groups_count_only_by_their_order(claim: Claim, rows: list[Row]) -> None:
    data = table(rows)
    spread = Rows(data.outcomes, data.groups**3 - 50, data.place, STEPS)
    assert evidence(claim, data).tolist() == evidence(claim, spread).tolist()


@given(claims, rows_of)
def test_p_values_are_probabilities_and_always_pro_is_always_certified(claim: Claim, rows: list[Row]) -> None:
    found = evidence(claim, table(rows))
    assert found.shape == (STEPS,)
    assert ((found >= 0) & (found <= 1)).all()
    assert found[0] == 0
    assert last_certified(found, claim) >= 0


@given(rows_of)
def test_rows_that_always_go_to_pro_have_nothing_to_lose(rows: list[Row]) -> None:
    data, claim = table(rows), Claim("points", 0.1)
    certain = np.where((data.place == STEPS)[:, None], 1.0, data.outcomes)
    assert evidence(claim, data).tolist() == evidence(claim, Rows(certain, data.groups, data.place, STEPS)).tolist()


LOST, WON, SAME = (0, 1), (1, 0), (1, 1)


@pytest.mark.parametrize("claim", [Claim("points", 0.25, 0.6), Claim("ratio", 0.7, 0.6), Claim("points", 0.0, 0.6)])
@pytest.mark.parametrize("won", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("copies", [1, 2])
def test_no_game_is_favourable_where_the_claim_is_barely_broken(claim: Claim, won: float, copies: int) -> None:
    """All outcomes of six groups whose mean loss is just the allowance: wealth is 1 on average, p-values hold."""
    allowed = claim.bound if claim.form == "points" else (1 - claim.bound) * (1 - won)
    chances = {LOST: allowed + won, WON: won, SAME: 1 - allowed - 2 * won}
    mean, seen = 0.0, []
    for draw in product(chances, repeat=6):
        chance = float(np.prod([chances[kind] for kind in draw]))
        rows = Rows(
            np.repeat(np.array(draw, float), copies, 0), np.repeat(np.arange(6), copies), np.ones(6 * copies, int), 2
        )
        mean += chance * exp(bet(claim, *group_sums(claim, rows, 1))[0])
        seen.append((evidence(claim, rows)[1], chance))
    assert mean == pytest.approx(1, abs=1e-9)
    p, chance = np.array(sorted(seen)).T
    assert (np.cumsum(chance) <= p + 1e-9).all()
    assert p.min() < 1 - claim.confidence_level


def similar(rows: int, seed: int, steps: int = 50) -> Rows:
    """Rows of a score that knows something: flash is as good as pro where it is low."""
    random = np.random.default_rng(seed)
    score = random.random(rows)
    outcomes = np.column_stack([random.random(rows) < 0.85 - 0.35 * score, random.random(rows) < 0.85 - 0.1 * score])
    return Rows(outcomes.astype(float), np.arange(rows), 1 + (score * steps).astype(int), steps + 1)


def reach(claim: Claim, rows: Rows) -> int:
    return last_certified(evidence(claim, rows), claim)


@pytest.mark.parametrize("seed", range(5))
def test_who_claims_less_is_certified_no_less(seed: int) -> None:
    rows = similar(3000, seed)
    points = [reach(Claim("points", bound), rows) for bound in (0.005, 0.01, 0.02, 0.04, 0.08)]
    ratio = [reach(Claim("ratio", bound), rows) for bound in (0.995, 0.99, 0.98, 0.95, 0.9)]
    level = [reach(Claim("points", 0.02, level), rows) for level in (0.99, 0.95, 0.8, 0.5)]
    for found in (points, ratio, level):
        assert found == sorted(found)
        assert found[-1] > found[0]


def test_copies_in_a_group_are_less_evidence_than_rows_of_their_own() -> None:
    claim = Claim("points", 0.04)
    together, alone = [], []
    for seed in range(20):
        rows = similar(600, seed)
        twice = Rows(rows.outcomes.repeat(3, 0), rows.groups.repeat(3), rows.place.repeat(3), rows.steps)
        own = Rows(twice.outcomes, np.random.default_rng(seed).permutation(len(twice.place)), twice.place, rows.steps)
        together.append(reach(claim, twice))
        alone.append(reach(claim, own))
    assert np.mean(together) < np.mean(alone)
    assert np.mean(np.array(together) > alone) < 0.2


@pytest.mark.parametrize(
    "setting",
    [
        Setting("risk just above the claim", Claim("points", 0.05), 300, at_the_boundary(Claim("points", 0.05), 1)),
        Setting("groups", Claim("points", 0.05), 200, at_the_boundary(Claim("points", 0.05), 4)),
        Setting("a score that knows something", Claim("ratio", 0.97), 300, similar(20_000, 0)),
    ],
    ids=lambda setting: setting.what,
)
def test_guarantee_is_broken_no_more_often_than_it_says_and_the_naive_choice_is(setting: Setting) -> None:
    kept = setting.population.kept(setting.claim)
    broken = {way: (~kept[steps]).mean() for way, steps in chosen(setting, range(DATA_SETS)).items()}
    assert broken["betting"] <= 0.05 + 3 * sqrt(0.05 * 0.95 / DATA_SETS)
    assert broken["naive"] > 0.3


def mapie_reach(claim: Claim, rows: Rows) -> int:
    """The last step that MAPIE certifies; its risk is what flash loses, on the same path."""
    risk = BinaryRisk(
        lambda needs_pro, to_pro: (needs_pro == 1) & (to_pro == 0), lambda needs_pro, _: np.ones(len(needs_pro), bool),
        higher_is_better=False,
    )  # fmt: skip
    path = (np.arange(1, rows.steps) + 0.5) / (rows.steps + 1)
    controller = BinaryClassificationController(
        lambda score: np.column_stack([1 - score, score]), risk, claim.bound, claim.confidence_level,
        best_predict_param_choice=risk, list_predict_params=path, fwer_method="fixed_sequence",
    )  # fmt: skip
    flash, pro = rows.outcomes.T
    controller.calibrate(rows.place / (rows.steps + 1), ((pro == 1) & (flash == 0)).astype(int))
    return len(controller.valid_predict_params)


@pytest.mark.parametrize("seed", range(5))
def test_mapie_agrees_with_the_baseline_and_bets_reach_further(seed: int) -> None:
    """MAPIE's losses lie in [0, 1], so what flash alone gets right counts for nothing; bets count it, and gain by it.

    The other direction would be possible only where flash alone is hardly ever right, see the next test.
    """
    claim, rows = Claim("points", 0.1), similar(2048, seed)
    assert mapie_reach(claim, rows) == bounded(rows, claim) > 0
    assert reach(claim, rows) >= bounded(rows, claim)


def test_bets_come_close_to_the_exact_test_where_there_is_one() -> None:
    """Where flash is never right alone, the loss is binary and MAPIE's test exact: none is better on average."""
    claim, exact, found = Claim("points", 0.1), [], []
    for seed in range(20):
        rows = similar(2048, seed)
        outcomes = np.column_stack([rows.outcomes.min(axis=1), rows.outcomes[:, 1]])
        never = Rows(outcomes, rows.groups, rows.place, rows.steps)
        exact.append(mapie_reach(claim, never))
        found.append(reach(claim, never))
    assert 0.9 * np.mean(exact) < np.mean(found) < 1.02 * np.mean(exact)


def test_last_certified_is_the_one_before_the_first_failure() -> None:
    claim = Claim("points", 0.01)
    assert last_certified(np.array([0, 0.01, 0.05, 0.06, 0.01]), claim) == 2
    assert last_certified(np.array([0, 0.3, 0.01]), claim) == 0
    assert last_certified(np.array([0, 0.01, 0.02]), claim) == 2
    assert last_certified(np.array([0.0]), claim) == 0


def test_labels_needed_are_enough_more_often_than_not() -> None:
    claim, step = Claim("points", 0.03), 15
    population = similar(100_000, 0)
    needed = labels_needed(claim, population.outcomes, population.groups, population.place, population.steps)
    passed = [reach(claim, population.draw(int(needed[step]), seed)) >= step for seed in range(100)]
    assert 0.5 < np.mean(passed) < 0.9


@given(claims, rows_of)
def test_labels_needed_grow_along_the_path_and_are_endless_where_the_claim_is_broken(
    claim: Claim, rows: list[Row]
) -> None:
    data = table(rows)
    needed = labels_needed(claim, data.outcomes, data.groups, data.place, STEPS)
    means = np.array([np.mean(group_sums(claim, data, step)[0]) for step in range(STEPS)])
    assert needed[0] == 0
    assert (needed[1:] >= needed[:-1]).all()
    assert np.isinf(needed[1:][means[1:] > 1e-9]).all()
    assert np.isfinite(needed[1:][np.maximum.accumulate(means[1:]) < -0.01]).all()


def test_codes_are_of_names_and_not_of_rows() -> None:
    names = np.array(["b", "a", "b", "c", "Ünïcode"], dtype=object)
    found = codes(names, 0)
    assert found.dtype == np.int64
    assert found[0] == found[2]
    assert len(set(found.tolist())) == 4
    assert codes(names[::-1], 0).tolist() == found[::-1].tolist()
    assert codes(names, 1).tolist() != found.tolist()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("share", 0.9), "claim 'share': expected one of ratio, points"),
        (("ratio", 0.0), "bound 0 .* more than 0 and at most 1"),
        (("ratio", 1.01), "bound 1.01 .* more than 0 and at most 1"),
        (("points", -0.01), "bound -0.01 .* at least 0 and less than 1"),
        (("points", 1.0), "bound 1 .* at least 0 and less than 1"),
        (("points", float("nan")), "bound nan"),
        (("points", 0.01, 1.0), "confidence level 1: expected more than 0 and less than 1"),
        (("points", 0.01, 0.0), "confidence level 0"),
    ],
)
def test_claim_out_of_range_says_what_is_expected(values: tuple[str, float, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Claim(*values)

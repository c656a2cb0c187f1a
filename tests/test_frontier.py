"""All operating points at once: what every rule does, by brute force, and as the exported file decides."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import costing, paths, ruled, sampled, share, tables

from pipeline import frontier, held_out, parts, router
from pipeline.export import decide
from pipeline.frontier import STEPS, Frontier
from pipeline.metrics import FLASH, PRO
from pipeline.router import Smoothing
from pipeline.sample import Sample
from pipeline.traces import load
from pipeline.tune import OperatingPoint, over, point, scores, sends_to_pro

Table = list[tuple[Any, ...]]
gains = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=400)


def as_the_file(sample: Sample, threshold: float, floor: float) -> np.ndarray:
    """The rule of router.onnx, in float32."""
    return (sample.rows.gain >= np.float32(threshold)) | (sample.rows.evidence < np.float32(floor))


@given(tables, paths, share)
def test_frontier_equals_every_rule_tried_one_by_one(table: Table, path: list[float], floor: float) -> None:
    sample, rules = sampled(table), ruled(path, floor)
    found = over(sample, rules)
    for at, threshold in enumerate(rules.thresholds):
        to_pro = as_the_file(sample, threshold, rules.evidence_floor if at < len(rules) - 1 else 0.0)
        for name, pair in (
            ("pro_rate", np.array([[0.0, 1.0]])),
            ("accuracy", sample.rows.outcomes),
            ("cost", sample.costs.api),
            ("delivery", sample.costs.delivery),
        ):
            means = np.where(to_pro, pair[:, PRO], pair[:, FLASH]).mean()
            assert getattr(found, name)[at] == pytest.approx(means, abs=1e-12), (name, at)


@given(tables, paths, share)
def test_places_and_decisions_agree_with_the_file_at_every_rule(table: Table, path: list[float], floor: float) -> None:
    sample, rules = sampled(table), ruled(path, floor)
    rows, found = sample.rows, over(sample, rules)
    place = rules.places(rows.gain, rows.evidence)
    assert place.min() >= 1
    assert place.max() < len(rules)
    for at in range(len(rules)):
        chosen = point(rules, found, at)
        to_pro = decide(rows.probabilities, rows.evidence, chosen)
        assert np.array_equal(to_pro, place > at)
        score = scores(rows.gain, rows.evidence, chosen.evidence_floor)
        assert np.array_equal(sends_to_pro(score, chosen.threshold), to_pro)
        assert np.array_equal(as_the_file(sample, chosen.threshold, chosen.evidence_floor), to_pro)


@given(tables, paths, share)
def test_point_says_what_its_rule_does(table: Table, path: list[float], floor: float) -> None:
    sample, rules = sampled(table), ruled(path, floor)
    found = over(sample, rules)
    for at in range(len(rules)):
        chosen = point(rules, found, at)
        to_pro = decide(sample.rows.probabilities, sample.rows.evidence, chosen)
        right = np.where(to_pro, sample.rows.outcomes[:, PRO], sample.rows.outcomes[:, FLASH]).mean()
        assert (chosen.pro_rate, chosen.accuracy) == pytest.approx((to_pro.mean(), right))
        best = sample.rows.outcomes[:, PRO].mean()
        assert chosen.quality == (pytest.approx(right / best) if best else None)


@given(tables, paths, share)
def test_raising_the_threshold_never_raises_the_pro_rate(table: Table, path: list[float], floor: float) -> None:
    found = over(sampled(table), ruled(path, floor))
    assert all(before >= after for before, after in pairwise(found.pro_rate))


@given(tables, paths, share)
def test_ends_are_always_pro_and_always_flash(table: Table, path: list[float], floor: float) -> None:
    sample, rules = sampled(table), ruled(path, floor)
    found = over(sample, rules)
    assert (found.pro_rate[0], found.pro_rate[-1]) == (1, 0)
    assert [found.accuracy[-1], found.accuracy[0]] == pytest.approx(sample.rows.outcomes.mean(0).tolist())
    first, last = (point(rules, found, at) for at in (0, len(rules) - 1))
    assert (first.policy, first.threshold) == ("always pro", -1.0)
    assert (last.policy, last.threshold, last.evidence_floor) == ("always flash", 2.0, 0.0)


@given(gains)
def test_declared_thresholds_ascend_and_are_gains_that_were_seen(gain: list[float]) -> None:
    seen = np.array(gain, np.float32)
    rules = frontier.declare(seen, np.ones(len(seen), np.float32))
    assert (np.diff(rules.thresholds) > 0).all()
    assert set(rules.thresholds[1:-1].tolist()) <= set(seen.astype(float).tolist())
    assert np.array_equal(rules.thresholds.astype(np.float32), rules.thresholds)
    assert len(rules) <= STEPS + 2


def test_few_distinct_gains_are_all_declared() -> None:
    seen = np.arange(-50, 50, dtype=np.float32) / 64
    assert frontier.declare(seen, np.ones(100, np.float32)).thresholds[1:-1].tolist() == seen.tolist()


def test_floor_is_a_low_percentile_of_the_evidence() -> None:
    evidence = np.arange(201, dtype=np.float32)
    assert frontier.declare(evidence / 201, evidence).evidence_floor == 1.0


def test_rules_are_declared_from_the_fit_part_alone(trained: Any) -> None:
    traces, manifest = load([trained.traces]), trained.manifest
    fit = traces.take(parts.split(traces, manifest["data"]["split"]).fit)
    told = manifest["vocabulary"]
    fitted, left_out = router.fit(fit, Smoothing(told["strength"], told["regularisation"]))
    declared = frontier.declare(fitted.gain_of(left_out.features), left_out.evidence)
    kept = held_out.read(trained.folder, manifest["held_out"]).rules
    assert kept.thresholds.tolist() == declared.thresholds.tolist()
    assert kept.evidence_floor == declared.evidence_floor
    assert manifest["threshold"] in declared.thresholds


@given(tables)
def test_sending_at_random_is_a_line_between_the_constants(table: Table) -> None:
    sample = sampled(table)
    found = Frontier.at_random(sample.rows.outcomes, sample.costs)
    assert (found.pro_rate[0], found.pro_rate[-1]) == (1, 0)
    for name, pair in (("accuracy", sample.rows.outcomes), ("cost", sample.costs.api)):
        flash, pro = pair.mean(0)
        assert getattr(found, name) == pytest.approx(flash + found.pro_rate * (pro - flash))


def test_operating_point_of_a_version_is_one_of_its_rules(priced: Any) -> None:
    held = held_out.read(priced.folder, priced.manifest["held_out"])
    served = OperatingPoint(**priced.manifest["operating_point"])
    assert served.policy == "router"
    assert served.threshold in held.rules.thresholds
    costs = costing(np.zeros((len(held.tune), 2)))
    found = over(Sample(held.tune, costs, 0), held.rules)
    at = int(np.searchsorted(held.rules.thresholds, served.threshold))
    assert (found.pro_rate[at], found.accuracy[at]) == pytest.approx((served.pro_rate, served.accuracy))

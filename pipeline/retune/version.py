"""A challenger as a version: its files, compared with what was judged before they are written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from features.bags import Ints
from features.errors import ArtifactError
from pipeline import artifact, chosen_on, held_out, manifest, parts, report, sibling, train
from pipeline.certificate import Certificate, certificate, tested
from pipeline.challenger import Fitted, Proposal, seen
from pipeline.config import Aim, Config
from pipeline.costs import Tariff
from pipeline.drift.facts import Deployed
from pipeline.evidence import Evidence
from pipeline.export import export
from pipeline.findings import Findings
from pipeline.held_out import HeldOut
from pipeline.money import remarks
from pipeline.observed import Observed, observed
from pipeline.retune.division import Division
from pipeline.retune.standing import Champion
from pipeline.sample import Priced
from pipeline.schema import TIERS
from pipeline.settings import Settings
from pipeline.traces import Traces
from pipeline.tune import Tuned, over


def made_for(out: Path, key: str) -> Path | None:
    """The folder of the version that a retune on this evidence wrote, if it did."""
    for folder in reversed(artifact.versions(out)):
        with suppress(ArtifactError):
            if artifact.read_manifest(folder).get("retune", {}).get("key") == key:
                return folder
    return None


def write(
    champion: Champion, proposal: Proposal, traces: Traces, division: Division, deployed: Mapping[str, Deployed],
    tariff: Tariff, aim: Aim, settings: Settings, about: Mapping[str, Any], warnings: list[str],
) -> Path:  # fmt: skip
    """Write the version; returns its folder.

    Args:
        champion: that it is to replace.
        proposal: what it is.
        traces, division: it was made from.
        deployed: what answered for each tier in the newest days.
        tariff, aim, settings: it was tuned with.
        about: what the manifest says of the evidence, under "retune".
        warnings: sentences that a reader must not miss.

    Raises:
        ParityError: the files would decide otherwise than what was judged.
        StorageError: it cannot be written.
    """
    kept = asked_by(proposal, traces, division, int(champion.manifest["config"]["seed"]))
    held = champion.held if proposal.fitted is None else held_by(proposal.fitted, traces, division, champion, proposal)
    priced = Priced.of(held, tariff, int(champion.manifest["config"]["seed"]))
    held_back = _certificate(priced, proposal, aim)
    tuned = Tuned(proposal.contender.point, held_back.of_learned() if _learned(champion, proposal, aim) else held_back)
    said = [*warnings, *remarks(aim, tariff)]
    findings = sibling.evaluate(priced, tuned, aim, said)
    with artifact.new_version(champion.folder.parent) as new:
        common = {
            "retune": dict(about),
            "tiers": manifest.tiers(traces.models, settings, tariff),
            "held_out": held_out.write(new, held),
            "chosen_on": {**chosen_on.write(new, kept), "answered": {tier: deployed[tier].printed() for tier in TIERS}},
        }
        if proposal.fitted is None:
            complete = _with_threshold(new, champion, priced, tuned, findings, held, aim, settings, common)
        else:
            complete = _fitted(new, champion, proposal.fitted, traces, division, priced, tuned, findings, aim,
                               settings, common)  # fmt: skip
        return artifact.publish(new, complete)


def held_by(
    fitted: Fitted, traces: Traces, division: Division, champion: Champion, proposal: Proposal
) -> HeldOut:  # fmt: skip
    """Rows with both outcomes, as the new router sees them; those it was fitted on without their own group's words."""
    seed = int(champion.manifest["config"]["seed"])
    test = division.test[parts.drawn(len(division.test), seed)]
    learned = division.fit[fitted.weights.rows]

    def seen(rows: Ints) -> Observed:
        own = traces.take(rows)
        features, evidence = fitted.router.measure(own)
        place, known = np.searchsorted(learned, rows), np.isin(rows, learned)
        features[known], evidence[known] = (
            part[place[known]] for part in (fitted.left_out.features, fitted.left_out.evidence)
        )
        return observed(own, features, evidence, fitted.router.heads.probabilities(features), seed)

    return HeldOut(seen(division.tune), seen(test), proposal.contender.rules)


def asked_by(proposal: Proposal, traces: Traces, division: Division, seed: int) -> Evidence:
    """Newest logged decisions of the test part, as the router that is to serve sees them."""
    rows = division.asked[parts.drawn(len(division.asked), seed, chosen_on.MOST)]
    return seen(proposal.contender.seer, traces.take(rows), seed)


def _learned(champion: Champion, proposal: Proposal, aim: Aim) -> bool:
    """Whether the version learned from the tune part too."""
    if proposal.fitted is None:
        return bool(champion.manifest["certificate"].get("learned_from", False))
    return not aim.certify


def _certificate(priced: Priced, proposal: Proposal, aim: Aim) -> Certificate:
    rows, rules, at = priced.tuned.rows, priced.rules, proposal.at
    return certificate(aim.claim, rows, rules, over(priced.tuned, rules), at, at, tested(aim.claim, rows, rules))


def _with_threshold(
    new: Path, champion: Champion, priced: Priced, tuned: Tuned, findings: Findings, held: HeldOut, aim: Aim,
    settings: Settings, common: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """The champion's coefficients at another threshold."""
    known, folder = champion.manifest, champion.folder
    models = {
        name: onnx.load_model_from_string(artifact.verified(folder, f"{name}.onnx", known["onnx"][name]))
        for name in ("router", "scorer")
    }
    described = {
        **known, "version": artifact.version_of(new), "retuned_from": known["version"],
        "fitted_in": known.get("fitted_in", known["version"]), **manifest.made_now(),
        **manifest.choices(aim, priced, tuned, findings), **common,
        "config": {**known["config"], **aim.printed(), "settings": settings.printed()},
    }  # fmt: skip
    complete = sibling.write(models, new, described, held, tuned)
    if (pickled := folder / "router.joblib").exists():
        shutil.copyfile(pickled, new / pickled.name)
    (new / "report.html").write_text(report.render(findings, complete), encoding="utf-8")
    return complete


def _fitted(
    new: Path, champion: Champion, fitted: Fitted, traces: Traces, division: Division, priced: Priced, tuned: Tuned,
    findings: Findings, aim: Aim, settings: Settings, common: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """New coefficients."""
    rule, named = dict(division.rule), settings.retune
    divided = parts.Parts(division.fit[fitted.weights.rows], division.tune, division.test, rule)
    sources = tuple(map(Path, (*named.audit, *named.traces, *named.logs)))
    seed = int(champion.manifest["config"]["seed"])
    config = Config(sources, new.parent, seed, str(rule["by"]), aim, settings)
    described = manifest.describe(
        artifact.version_of(new), config, manifest.data(traces, divided), fitted.router, priced, tuned, findings,
        common["held_out"],
    ) | dict(common)  # fmt: skip
    sample = traces.take(np.sort(division.tune)[: train.EXPORT_ROWS])
    exported = export(fitted.router, tuned.point, sample, manifest.as_metadata(described))
    complete = manifest.with_files(described, exported)
    train.write(new, fitted.router, exported, report.render(findings, complete))
    return complete

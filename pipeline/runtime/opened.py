"""A version, open: verified, and found to answer as it did where it was made. No pickle is read here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states

from features.errors import ArtifactError
from features.request import Request
from pipeline.artifact import KNOWN_LATER, MANIFEST, read_whole, verified
from pipeline.limits import Limits
from pipeline.pointer import name_of
from pipeline.runtime.decision import TIERS

INPUTS = {"context_bytes": np.int64, "tool_count": np.int64, "turn_count": np.int64}
OUTPUTS = ("probabilities", "gain", "evidence", "use_pro")
LARGEST_DIFFERENCE = 1e-6
# Most of a short run is the same for one row and for many; beyond this, padding costs what that saves.
MOST_ROWS, LARGEST_RUN = 32, 20_000  # characters, of the longest row times the rows
# One for all calls: to make it anew takes longer than some of the graph's nodes.
RUN = onnxruntime.RunOptions()
# Words take the first node only, and not the three dozen after it.
ONLY_FETCHED = onnxruntime.RunOptions()
ONLY_FETCHED.only_execute_path_to_fetches = True
UNUSABLE = (
    states.Fail, states.InvalidArgument, states.InvalidGraph, states.InvalidProtobuf, states.NoModel,
    states.NotImplemented, states.RuntimeException, RuntimeError, ValueError,
)  # fmt: skip
# Whatever a run may raise.
FAILURES = (*UNUSABLE, ArithmeticError, LookupError, MemoryError, OSError, TypeError)


class Scores(NamedTuple):
    """What the router makes of a request.

    Attributes:
        probabilities: of a correct answer, flash and pro.
        gain: their difference.
        evidence: share of the words that are known.
        use_pro: the decision.
    """

    probabilities: Sequence[float]
    gain: float
    evidence: float
    use_pro: bool


class Opened(NamedTuple):
    """A version in memory.

    Attributes:
        name: unlike that of any other version, such as "v3-1a2b3c4d5e6f".
        manifest: of the version.
        threshold, evidence_floor: its bounds.
        scale: how far from the threshold as much is explored as on the mean, see `pipeline.exploring`; None: all alike.
        models: the tiers' model ids; None where not known.
        limits: what each tier may be asked at all.
        session: of `router.onnx`.
    """

    name: str
    manifest: Mapping[str, Any]
    threshold: float
    evidence_floor: float
    scale: float | None
    models: Mapping[str, str | None]
    limits: Mapping[str, Limits]
    session: onnxruntime.InferenceSession

    @classmethod
    def open(cls, folder: Path) -> Opened:
        """Open a version.

        Args:
            folder: with `router.onnx` and `manifest.json`; more is not looked at.

        Raises:
            ArtifactError: it is missing, altered, of another schema, or answers otherwise than where it was made.
        """
        manifest = read_whole(folder)
        try:
            stated = manifest["onnx"]["router"]
            content = verified(folder, "router.onnx", stated)
            opened = cls(
                name=name_of(manifest),
                manifest=manifest,
                threshold=float(manifest["threshold"]),
                evidence_floor=float(manifest["evidence_floor"]),
                scale=None if (scale := manifest.get("explore_scale")) is None else float(scale),
                models={tier: manifest["tiers"][tier]["model"] for tier in TIERS},
                limits={tier: Limits.of(manifest["config"]["settings"]["tiers"][tier]["limits"]) for tier in TIERS},
                session=_session(content),
            )
            opened.check(folder)
        except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise ArtifactError(f"{folder / MANIFEST} is damaged ({error!r}): restore it, or train again") from error
        except UNUSABLE as error:
            said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise ArtifactError(
                f"{folder / 'router.onnx'} cannot be used by onnxruntime {onnxruntime.__version__} ({said}): "
                "install a newer one, or train again"
            ) from error
        return opened

    def check(self, folder: Path) -> None:
        """Compare the manifest with the file's own copy, and the golden rows with what the file answers here.

        Raises:
            ArtifactError: they differ.
        """
        own = json.loads(self.session.get_modelmeta().custom_metadata_map.get("manifest", "null"))
        if own != {name: value for name, value in self.manifest.items() if name not in KNOWN_LATER}:
            raise ArtifactError(f"{folder / MANIFEST} is not the one that router.onnx was made with: restore it")
        golden = self.manifest["golden"]
        if not golden:
            raise ArtifactError(f"{folder / MANIFEST} has no golden rows to check router.onnx by: train again")
        feeds = {name: np.array([row[name] for row in golden], kind) for name, kind in INPUTS.items()}
        feeds["prompt"] = np.array([row["prompt"] for row in golden], object)
        # onnxruntime plans its memory by the first run: after one of several rows, single ones take 2.5 µs longer.
        self.session.run(OUTPUTS, {name: column[:1] for name, column in feeds.items()})
        found = dict(zip(OUTPUTS, self.session.run(OUTPUTS, feeds), strict=True))
        for name in OUTPUTS:
            stated = np.array([row[name] for row in golden])
            away = np.abs(found[name].astype(float) - stated.astype(float))
            if not away.max() <= (0 if name == "use_pro" else LARGEST_DIFFERENCE):
                row = int(np.argmax(away.reshape(len(golden), -1).max(1)))
                raise ArtifactError(
                    f"{folder / 'router.onnx'} fails golden row {row + 1} of {len(golden)}: {name} is "
                    f"{found[name][row].tolist()}, and was {stated[row].tolist()} where it was made, with onnxruntime "
                    f"{self.manifest['libraries']['onnxruntime']} (here {onnxruntime.__version__}): use that version"
                )

    def score(self, request: Request, threshold: float | None = None) -> Scores:
        """Score a request.

        Args:
            request: to score.
            threshold: in the place of the tuned one, if given.
        """
        [scores] = self._run([request], threshold)
        return scores

    def score_all(self, requests: Sequence[Request]) -> list[Scores]:
        """Score requests, short ones together: to the bit as each alone, in less than half the time."""
        found: dict[int, Scores] = {}
        for rows in runs([len(request.prompt) for request in requests]):
            found.update(zip(rows, self._run([requests[row] for row in rows]), strict=True))
        return [found[row] for row in range(len(requests))]

    def _run(self, requests: Sequence[Request], threshold: float | None = None) -> list[Scores]:
        feeds = {name: np.array([getattr(each, name) for each in requests], kind) for name, kind in INPUTS.items()}
        feeds["prompt"] = np.array([each.prompt for each in requests], object)
        if threshold is not None:
            feeds["threshold"] = np.array(threshold, np.float32)
        columns = self.session.run(OUTPUTS, feeds, RUN)
        return [Scores(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def words(self, prompts: Sequence[str]) -> list[list[str]]:
        """The words of prompts, as the router sees them, in order; "" behind those of shorter ones is padding."""
        found: dict[int, list[str]] = {}
        for rows in runs([len(prompt) for prompt in prompts]):
            feeds = {name: np.zeros(len(rows), kind) for name, kind in INPUTS.items()}
            feeds["prompt"] = np.array([prompts[row] for row in rows], object)
            [words] = self.session.run(["words"], feeds, ONLY_FETCHED)
            found.update(zip(rows, words.tolist(), strict=True))
        return [found[row] for row in range(len(prompts))]


def runs(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Which rows share a run: those of similar lengths, for each is padded to the longest.

    >>> list(runs([20, 11_000, 300, 10]))
    [[3, 0, 2], [1]]
    """
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if rows and (len(rows) == MOST_ROWS or (len(rows) + 1) * lengths[row] > LARGEST_RUN):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def _session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # no slower, and what one huge prompt took is given back
    options.log_severity_level = 3  # it warns of the inputs with defaults, which are meant to be there
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

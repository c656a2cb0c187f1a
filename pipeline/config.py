"""What a training is told, with defaults for everything. It is printed into the manifest."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from features.errors import InputError
from pipeline.guarantee import CONFIDENCE_LEVEL, Claim
from pipeline.objective import DEFAULT_QUALITY, Objective
from pipeline.settings import Settings

BUNDLE = Path(__file__).parent.parent / "data" / "routellm.parquet"
SPLITS = ("group", "time")


@dataclass(frozen=True, slots=True)
class Aim:
    """What a threshold is to achieve.

    Attributes:
        objective: to serve.
        certify: serve only what is certified.
        max_loss: accuracy that may be lost to always-pro, in [0, 1): the claim to certify. Where not given, the claim
            is to keep the objective's share of always-pro's accuracy, or `DEFAULT_QUALITY` of it.
        confidence_level: of the certificate, in (0, 1).
        at: moment whose prices apply; now where not given.

    Raises:
        InputError: a value out of its range.
    """

    objective: Objective = field(default_factory=Objective)
    certify: bool = False
    max_loss: float | None = None
    confidence_level: float = CONFIDENCE_LEVEL
    at: datetime | None = None

    def __post_init__(self) -> None:
        if self.max_loss is not None and not 0 <= self.max_loss < 1:
            raise InputError(f"--max-loss {self.max_loss:g}: expected a share of the requests, such as 0.016")
        if not 0 < self.confidence_level < 1:
            raise InputError(f"--confidence-level {self.confidence_level:g}: expected a probability, such as 0.95")

    @property
    def claim(self) -> Claim:
        """What is to be certified."""
        if self.max_loss is not None:
            return Claim("points", self.max_loss, self.confidence_level)
        asked = self.objective.value if self.objective.name == "min_quality" else None
        return Claim("ratio", min(asked or DEFAULT_QUALITY, 1.0), self.confidence_level)

    @property
    def priced_at(self) -> datetime:
        """The moment whose prices apply."""
        return self.at or datetime.now(UTC)

    def printed(self) -> dict[str, object]:
        """As plain values."""
        return asdict(self) | {"at": self.at and self.at.isoformat()}


@dataclass(frozen=True, slots=True)
class Config:
    """One training.

    Attributes:
        traces: a file of traces, or the shards of one data set.
        out: parent of the versions and of the embedded MLflow store.
        seed: of parts, folds and resampling.
        split: how parts are made: "group" (hashed) or "time" (newest last).
        aim: what the threshold is to achieve.
        settings: prices and what else counts.

    Raises:
        InputError: a value out of its range.
    """

    traces: tuple[Path, ...] = (BUNDLE,)
    out: Path = Path("models")
    seed: int = 0
    split: str = "group"
    aim: Aim = field(default_factory=Aim)
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: expected 0 or more")
        if self.split not in SPLITS:
            raise InputError(f"--split {self.split}: expected one of {', '.join(SPLITS)}")

    def printed(self) -> dict[str, object]:
        """The configuration as plain values; files by name alone, for a manifest travels."""
        return {
            "traces": [path.name for path in self.traces],
            "out": self.out.name,
            "seed": self.seed,
            "split": self.split,
            **self.aim.printed(),
            "settings": self.settings.printed(),
        }

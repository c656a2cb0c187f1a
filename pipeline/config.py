"""What a training is told, with defaults for everything. It is printed into the manifest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from features.errors import InputError

BUNDLE = Path(__file__).parent.parent / "data" / "routellm.parquet"
# Until a price table exists, cost is relative: a request at pro costs twelve times one at flash.
RELATIVE_COSTS = (1.0, 12.0)
COST_UNIT = "relative units a request (flash 1, pro 12)"
SPLITS = ("group", "time")


@dataclass(frozen=True, slots=True)
class Config:
    """One training.

    Attributes:
        traces: a file of traces, or the shards of one data set.
        out: parent of the versions and of the embedded MLflow store.
        seed: of parts, folds and resampling.
        min_quality: share of always-pro's accuracy to keep, in (0, 2].
        split: how parts are made: "group" (hashed) or "time" (newest last).

    Raises:
        InputError: a value out of its range.
    """

    traces: tuple[Path, ...] = (BUNDLE,)
    out: Path = Path("models")
    seed: int = 0
    min_quality: float = 0.98
    split: str = "group"

    def __post_init__(self) -> None:
        if not 0 < self.min_quality <= 2:
            raise InputError(
                f"--min-quality {self.min_quality:g}: expected a share of always-pro's accuracy, such as 0.98"
            )
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: expected 0 or more")
        if self.split not in SPLITS:
            raise InputError(f"--split {self.split}: expected one of {', '.join(SPLITS)}")

    def printed(self) -> dict[str, object]:
        """The configuration as plain values; files by name alone, for a manifest travels."""
        return asdict(self) | {"traces": [path.name for path in self.traces], "out": self.out.name}

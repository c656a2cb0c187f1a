"""Versions to ship, made in a moment from one that was trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import onnx

from pipeline import export, manifest
from pipeline.export import Export, Parity
from pipeline.tune import OperatingPoint


def another(folder: Path, out: Path, number: int) -> Path:
    """A version like the one in `folder`, with a number and a threshold of its own."""
    known = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    point = replace(OperatingPoint(**known["operating_point"]), threshold=number / 16)
    described = known | {"version": f"v{number}", "threshold": point.threshold}
    models = {
        name: export.with_threshold(onnx.load_model(folder / f"{name}.onnx"), point, manifest.as_metadata(described))
        for name in ("router", "scorer")
    }
    made = out / f"v{number}"
    made.mkdir(parents=True)
    for name, model in models.items():
        (made / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
    whole = manifest.with_files(described, Export(**models, parity=Parity(1, 0.0, 0)))
    (made / "manifest.json").write_text(json.dumps(whole), encoding="utf-8")
    for name in ("router.joblib", "report.html", "held_out.parquet"):
        (made / name).write_bytes(b"not for serving")
    return made

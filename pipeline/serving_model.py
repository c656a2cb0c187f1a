"""The MLflow model: `router.onnx` behind `predict`. MLflow runs this file by itself, so it imports no other of ours.

`predict` takes a data frame with a column `prompt` and, where known, `context_bytes`, `tool_count` and
`turn_count`, or a list of prompts; it returns a data frame with a row per request.
"""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np
import onnxruntime
import pandas as pd
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray

DEFAULTS = {"context_bytes": 0, "tool_count": 0, "turn_count": 1}


class RouterModel(PythonModel):
    """Decides from raw requests."""

    def load_context(self, context: Any) -> None:
        """Open the file that was logged."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(context.artifacts["router"], options, ["CPUExecutionProvider"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:  # noqa: ARG002
        """Decide on N requests.

        Returns:
            Columns `use_pro`, `gain`, `flash_probability`, `pro_probability` and `evidence`, N rows.
        """
        frame = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame({"prompt": list(model_input)})
        inputs = {name: self._counts(frame, name) for name in DEFAULTS}
        prompts = frame["prompt"].to_numpy(dtype=object)
        names = ["use_pro", "gain", "probabilities", "evidence"]
        use_pro, gain, probabilities, evidence = self.session.run(names, {"prompt": prompts, **inputs})
        return pd.DataFrame(
            {
                "use_pro": use_pro,
                "gain": gain,
                "flash_probability": probabilities[:, 0],
                "pro_probability": probabilities[:, 1],
                "evidence": evidence,
            },
            index=frame.index,
        )

    @staticmethod
    def _counts(frame: pd.DataFrame, name: str) -> NDArray[np.int64]:
        given = frame[name].fillna(DEFAULTS[name]) if name in frame else pd.Series(DEFAULTS[name], index=frame.index)
        return np.asarray(given, dtype=np.int64)


mlflow.models.set_model(RouterModel())

"""What a request looks like in numbers: one definition, for training and for serving.

The word rule, the ten features and the graph that computes them. Nothing here knows scikit-learn, the
trainer or the command line.
"""

import os

# The one thing that happens on import, because onnxruntime looks once, when it is loaded: its wheels would else report
# every session to their maker, and a service that reads prompts makes no calls that nobody asked for. Who sets the
# variable, to whatever value, is left to it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

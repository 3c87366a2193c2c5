"""ONNX Runtime without its telemetry; nothing else here imports onnxruntime."""

import os

# From 1.29 on ONNX Runtime reports sessions and models to its maker; it reads this when it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from onnxruntime import InferenceSession, SessionOptions

__all__ = ["InferenceSession", "SessionOptions"]

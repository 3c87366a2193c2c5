"""ONNX Runtime without its telemetry; nothing else here imports onnxruntime."""

import os

# From 1.29 on ONNX Runtime reports sessions and models to its maker; it reads this when it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from onnxruntime import InferenceSession, SessionOptions

__all__ = ["InferenceSession", "first_line", "open_session"]

_FATAL = 4  # what fails is raised; a line in C++'s own format beside it is for nobody


def open_session(content: bytes) -> InferenceSession:
    """Load an ONNX model to run on one core: workers and flows share the cores. What it raises has no common base.

    Without `enable_fallback=0` it prints what it cannot load, and tries again.
    """
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    return InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)


def first_line(error: Exception) -> str:
    """Return the first line of what an error of the runtime says."""
    return next(iter(str(error).splitlines()), type(error).__name__)

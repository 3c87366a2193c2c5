import os

# From 1.29 on ONNX Runtime reports sessions and models to Microsoft; it reads this when it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

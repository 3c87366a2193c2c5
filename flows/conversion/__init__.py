"""Models as people bring them: read from their files, and converted to ONNX."""

"""Models as ONNX files: what they must be, how they are checked, and how they predict. API and flows alone load it."""

"""From a model's fp32 file to one of 8-bit integers, by ONNX Runtime's own tools."""

"""ONNX Runtime: what native engines that compute with it share."""

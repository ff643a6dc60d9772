"""Kokoro: speech in eight languages and 54 voices by a model of 82 million weights, natively.

Through `kokoro-onnx` on ONNX Runtime, on the CPU, through Vulkan or CUDA. https://huggingface.co/hexgrad/Kokoro-82M
"""

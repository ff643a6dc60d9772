"""Moonshine: small, fast models of speech recognition, natively. https://github.com/moonshine-ai/moonshine

Models in ONNX Runtime's `.ort` format run in the library `moonshine-voice`, on the CPU. ONNX exports run in ONNX
Runtime itself, on the CPU or through Vulkan.
"""

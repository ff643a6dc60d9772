"""FastFlowLM's `flm` without an NPU: see README.md beside this file."""

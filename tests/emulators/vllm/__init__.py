"""`vllm serve` without a GPU, a model or PyTorch: see README.md beside this file."""

"""`hal0 doctor`: what this machine has, and whether its NPU really does what slots on it will ask."""

"""What a machine has beside CPUs and memory, by what its kernel and drivers tell in files."""

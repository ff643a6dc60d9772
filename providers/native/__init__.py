"""Engines that are Python libraries: inside the slot's actor, or in a process of their own."""

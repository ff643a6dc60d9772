"""The model store: from a slot's sources to files on this node's disk.

Importing it is cheap: what talks to the network is imported by those who do.
"""

from serve_app.models.in_use import ModelUse
from serve_app.models.store import ModelStore

__all__ = ["ModelStore", "ModelUse"]

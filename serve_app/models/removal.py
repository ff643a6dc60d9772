"""Taking from the store what no live slot uses."""

from pathlib import Path

from serve_app.models.in_use import still, uses
from serve_app.models.inventory import NotRemovable, stored


def remove(source: str, folder: Path, run_dir: Path) -> int:
    """Remove every stored file of a source, and its partial files. Returns their bytes. Raises `NotRemovable`."""
    with still(run_dir):
        chosen = [one for one in stored(folder) if one.belongs_to(source)]
        if not chosen:
            raise NotRemovable(f"nothing that is stored is called '{source}'; `hal0 models` lists what is")
        users = sorted({use.slot for use in uses(run_dir) for one in chosen if use.reads(one.path)})
        if users:
            raise NotRemovable(f"'{source}' is in use by {', '.join(users)}; unload that first")
        for one in chosen:
            one.remove()
        return sum(one.size for one in chosen)

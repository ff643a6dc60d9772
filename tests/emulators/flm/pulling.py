"""`flm pull`: what it prints, and what is on the disk meanwhile."""

import time
from collections.abc import Iterator
from pathlib import Path

from tests.emulators.flm import faults, folder, settings
from tests.emulators.flm.catalogue import Model
from tests.emulators.flm.console import complain, say, write
from tests.emulators.flm.faults import Fault

ATTEMPTS = 3
RETRY_S = PROGRESS_S = 1.0
STEP_S = 0.05
HIDE_CURSOR, SHOW_CURSOR = "\033[?25l", "\033[?25h"


def pull(model: Model, force: bool) -> bool:
    """False if a file could not be had. True offline, too: the real program takes an empty list for nothing to do."""
    say("FLM", f"Model: {model.tag}")
    say("FLM", f"Name: {model.name}")
    if not force and folder.is_installed(model):
        say("FLM", "Model already downloaded. Use --force to re-download.")
        return True
    if force:
        folder.clean(model)
    _list_files(model)
    wanted = _wanted(model)
    if not wanted:
        say("FLM", f"No files to download for model: {model.tag}")
        return True
    say("FLM", f"Downloading {len(wanted)} missing files...")
    total = sum(folder.megabytes(model, file) for file in wanted)
    say("FLM", f"Files to download ({total:.2f} MB): ")
    for file in wanted:
        write(f"  - {file} ({folder.megabytes(model, file):.2f} MB)\n")
    if not _download_all(model, wanted):
        say("ERROR", "Failed to download model files.")
        return False
    say("FLM", "Model downloaded successfully!")
    say("FLM", "All files verified successfully.")
    return True


def _list_files(model: Model) -> None:
    missing, present = folder.missing(model), folder.present(model)
    if missing:
        _list(f"Missing files ({len(missing)}):", missing)
    else:
        say("FLM", "All required files are present.")
    if present:
        _list(f"Present files ({len(present)}):", present)


def _list(title: str, files: list[str]) -> None:
    say("FLM", title)
    write("".join(f"  - {file}\n" for file in files))


def _wanted(model: Model) -> list[str]:
    folder.path(model).mkdir(parents=True, exist_ok=True)
    try:
        folder.ask_site()
    except folder.Unreachable as error:
        say("ERROR", f"Error building download list: {error}")
        return []
    return [file for file in model.files if not folder.is_whole(model, file)]


def _download_all(model: Model, files: list[str]) -> bool:
    for order, file in enumerate(files, 1):
        say("FLM", f"Downloading {order}/{len(files)}: {file}")
        if not any(_attempt(model, file, attempt) for attempt in range(1, ATTEMPTS + 1)):
            complain(f"Failed to download: {model.entry['url']}/resolve/main/{file}?download=true")
            return False
        write(f"\r[FLM]  Overall progress:  {order}/{len(files)} files\n")
    write(SHOW_CURSOR)
    say("FLM", "All downloads completed successfully!")
    return True


def _attempt(model: Model, file: str, attempt: int) -> bool:
    if _download(model, file, attempt):
        return True
    say("FLM", f"Download failed (attempt {attempt}/{ATTEMPTS})")
    if attempt < ATTEMPTS:
        say("FLM", "Retrying...")
    time.sleep(settings.paced(RETRY_S))
    return False


def _download(model: Model, file: str, attempt: int) -> bool:
    local, weights = folder.path(model) / file, file.endswith(".q4nx")
    write(HIDE_CURSOR)
    if local.is_file() and local.stat().st_size:
        say("FLM", f"Resuming download: {local}")
    shown = _transfer(model, file, local, cut=weights and attempt <= (faults.number(Fault.PULL_CUT, ATTEMPTS) or 0))
    write(SHOW_CURSOR)
    if local.stat().st_size < len(folder.contents(model, file)):
        complain("CURL error: Transferred a partial file")
        return False
    if shown:
        write("\n")
    say("FLM", "Checking Hash...")
    if not folder.is_whole(model, file) or (weights and faults.has(Fault.PULL_CORRUPT)):
        say("FLM", "Hash not matched!")
        local.unlink()
        return False
    say("FLM", f"Download completed: {local}")
    return True


def _transfer(model: Model, file: str, local: Path, cut: bool) -> bool:
    """Appends what is still to come, half of it if `cut`; whether it showed how far it is."""
    whole = folder.contents(model, file)
    done = local.stat().st_size if local.is_file() else 0
    end = (done + len(whole)) // 2 if cut else len(whole)
    shown, last = False, time.monotonic()
    with local.open("ab") as out:
        for size in _pieces(file, end - done, len(whole)):
            out.write(whole[done : done + size])
            out.flush()
            done += size
            if time.monotonic() - last >= settings.paced(PROGRESS_S):
                shown, last = True, time.monotonic()
                _show(done / len(whole), folder.megabytes(model, file))
    return shown


def _pieces(file: str, count: int, whole: int) -> Iterator[int]:
    """Sizes that sum to `count`; they come slowly if the fault says so."""
    slow_s = faults.number(Fault.PULL_SLOW, 10) if file.endswith(".q4nx") else None
    size = max(1, int(whole * STEP_S / slow_s)) if slow_s else whole
    while count > 0:
        if slow_s:
            time.sleep(STEP_S)
        yield min(size, count)
        count -= size


def _show(share: float, megabytes: float) -> None:
    write(f"\r\033[K[FLM]  Downloading: {share * 100:.1f}% ({share * megabytes:.1f}MB / {megabytes:.1f}MB)")

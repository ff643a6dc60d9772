"""One file from its address to its name on the disk, by whoever of this node comes first."""

from threading import Event

from serve_app.models.locks import turn
from serve_app.models.progress import Meter
from serve_app.models.remote import Remote
from serve_app.models.room import storing
from serve_app.models.transfer import Transfer
from serve_app.models.transport import Transport


def pull(remote: Remote, transport: Transport, meter: Meter, cancelled: Event) -> None:
    """Bring the file, or wait while somebody else on this node does. Raises `ModelUnavailable`, `PullCancelled`."""

    def watch_the_other() -> None:
        if record := remote.partial.record():
            meter.expect(remote.name, remote.size or record.size)
        meter.at(remote.name, remote.partial.size)

    with storing(remote.source, remote.target.parent):
        remote.target.parent.mkdir(parents=True, exist_ok=True)
        with turn(remote.lock, cancelled, watch_the_other):
            if not remote.target.exists():
                Transfer(remote, transport, meter, cancelled).run()
            remote.arrived()
        size = remote.target.stat().st_size
        meter.expect(remote.name, size)
        meter.at(remote.name, size)

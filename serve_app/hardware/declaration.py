"""From what a machine has to the custom resources that its Ray node declares, with the reasons. Pure.

A device counts if an engine can use it, since `device: auto` goes by what is declared. Its resource is declared once,
whatever their number: an engine takes the first device of its kind unless it is told otherwise. CUDA's alone are given
out one by one, by Ray, which counts them itself as `GPU`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from providers.devices import DECLARED_BY, Device
from serve_app.fit import DEVICE_MEMORY
from serve_app.hardware.gpu import Gpu, Maker
from serve_app.hardware.survey import Hardware, Survey
from serve_app.placement import GIB

UNUSED = "but no engine on PATH can use it; --hardware declares it all the same"


@dataclass(slots=True)
class Declaration:
    """`resources` by name. `reasons` and `left_out` tell how it came about, a line each."""

    resources: dict[str, float] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, resource: str, amount: float, why: str) -> None:
        self.resources[resource] = amount
        self.reasons.append(f"{resource}: {why}")

    def leave_out(self, resource: str, why: str) -> None:
        self.left_out.append(f"{resource}: {why}")


def declare(seen: Survey, whatever_engines: bool = False) -> Declaration:
    """`whatever_engines`: they are in containers or named by slots, so that the machine's own word must do."""
    made = Declaration()
    present = dict(_present(seen.hardware))
    usable = {device: f"{program} finds such a device" for device, program in seen.usable.items()}
    for device, why in (present | usable if whatever_engines else usable).items():
        made.add(DECLARED_BY[device], 1.0, why)
    for device, why in present.items():
        if DECLARED_BY[device] not in made.resources:
            made.leave_out(DECLARED_BY[device], f"{why}, {UNUSED}")
    _declare_memory(made, seen.hardware.gpus)
    for npu in seen.hardware.npus:
        if not npu.usable:
            made.leave_out(DECLARED_BY[Device.NPU], f"no engine uses {npu.device_file} of the driver {npu.driver}")
    if seen.hardware.gpus:
        made.leave_out("GPU", "Ray counts the GPUs of NVIDIA and AMD itself, by their makers' libraries")
    return made


def lines(hardware: Hardware) -> Iterator[str]:
    """What there is, in words."""
    for gpu in hardware.gpus:
        where = f"{gpu.address}, {gpu.render_node}" if gpu.render_node else gpu.address
        yield f"{gpu.name} ({where}): {_memory_in_words(gpu)}"
    for node in hardware.compute_nodes:
        yield f"ROCm's driver serves {node.architecture} ({node.render_node})"
    for npu in hardware.npus:
        yield f"NPU of the driver {npu.driver} ({npu.device_file})"


def _present(hardware: Hardware) -> Iterator[tuple[Device, str]]:
    """What the machine has by its own word, and why it is thought to."""
    vulkan = [gpu for gpu in hardware.gpus if gpu.render_node and gpu.maker in hardware.vulkan_for]
    if vulkan:
        yield Device.VULKAN, f"{_names(vulkan)} with a Vulkan driver"
    if hardware.compute_nodes:
        yield Device.ROCM, f"ROCm's driver serves {', '.join(node.architecture for node in hardware.compute_nodes)}"
    if cuda := [gpu for gpu in hardware.gpus if gpu.cuda]:
        yield Device.CUDA, f"{_names(cuda)} with NVIDIA's driver"
    if npus := [npu for npu in hardware.npus if npu.usable]:
        yield Device.NPU, ", ".join(str(npu.device_file) for npu in npus)


def _declare_memory(made: Declaration, gpus: Sequence[Gpu]) -> None:
    """Left out where a part of it is not known: too little would refuse what fits."""
    counted = list(_counted(frozenset(made.resources), gpus))
    if not counted:
        return
    if unknown := [gpu for gpu in counted if gpu.own_bytes is None]:
        made.leave_out(DEVICE_MEMORY, f"nothing tells how much {_names(unknown)} has; give it by --resources")
        return
    total = sum(gpu.own_bytes or 0 for gpu in counted)
    if total:
        made.add(DEVICE_MEMORY, math.floor(total / GIB * 100) / 100, f"of {_names(counted)}")
    else:
        made.leave_out(DEVICE_MEMORY, f"{_names(counted)} shares the node's memory, which Ray counts")


def _counted(declared: frozenset[str], gpus: Sequence[Gpu]) -> Iterator[Gpu]:
    """Those whose memory engines use: all that Ray gives out, and the largest of those of which engines take one."""
    assigned = [gpu for gpu in gpus if gpu.cuda] if DECLARED_BY[Device.CUDA] in declared else []
    yield from assigned
    makers = set(Maker) if DECLARED_BY[Device.VULKAN] in declared else set()
    if DECLARED_BY[Device.ROCM] in declared:
        makers.add(Maker.AMD)
    others = [gpu for gpu in gpus if gpu.maker in makers and gpu not in assigned]
    if any(gpu.own_bytes is None for gpu in others):
        yield from (gpu for gpu in others if gpu.own_bytes is None)
    elif others and not (assigned and all(gpu.own_bytes == 0 for gpu in others)):
        yield max(others, key=lambda gpu: gpu.own_bytes or 0)


def _memory_in_words(gpu: Gpu) -> str:
    match gpu.own_bytes:
        case None:
            return "nothing tells how much memory it has"
        case 0:
            return "shares the node's memory"
        case amount:
            return f"{amount / GIB:.2f} GiB of its own"


def _names(gpus: Sequence[Gpu]) -> str:
    return ", ".join(gpu.name for gpu in gpus)


def shown(resources: Mapping[str, float]) -> dict[str, float]:
    """Whole numbers without a point."""
    return {name: int(amount) if amount == int(amount) else amount for name, amount in sorted(resources.items())}

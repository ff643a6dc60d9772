"""What would keep `flm` from loading any model on this machine, found before it tries."""

import asyncio
import logging

from providers.base import Node
from providers.errors import ProviderError
from providers.flm.asking import Answer, answer
from providers.flm.command import program_command, program_environment
from providers.flm.options import FlmSlot
from providers.flm.validation import parsed_report, parsed_version, problems, version_warning

LIMIT_S = 5.0
CONTAINER_LIMIT_S = 120.0
"""Its image may have to be fetched first."""

logger = logging.getLogger("hal0.flm")


async def preflight(slot: FlmSlot, node: Node) -> None:
    """Raises `ProviderError` with every problem that the program sees, each with what to do. What it says in terms that
    are not known here is no reason to refuse: other versions may say more."""
    asked = (_answer(slot, node, "validate"), _answer(slot, node, "version"))
    # Both have ended, however they do, so that no process is left.
    validated, told = (_or_raised(one) for one in await asyncio.gather(*asked, return_exceptions=True))
    if (warning := version_warning(parsed_version(told.output))) is not None:
        logger.warning("Slot '%s': %s", slot.name, warning)
    report = parsed_report(validated.output)
    if report is None:
        said = (validated.output + validated.errors).strip() or "nothing"
        logger.warning("Slot '%s': `flm validate --json` says what is no report: %s", slot.name, said)
    elif found := problems(report):
        raise ProviderError(" ".join(found))


def _or_raised(outcome: Answer | BaseException) -> Answer:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def _answer(slot: FlmSlot, node: Node, word: str) -> Answer:
    """Of `flm WORD --json`."""
    command = program_command(slot, node, (word, "--json"), f"hal0-{slot.name}-{word}")
    limit_s = LIMIT_S if slot.options.container is None else CONTAINER_LIMIT_S
    try:
        return await answer(command, program_environment(slot, node), limit_s)
    except TimeoutError as error:
        raise ProviderError(
            f"`flm {word}` gave no answer within {limit_s:g} s: the NPU's driver may hang, which `sudo dmesg | grep "
            "amdxdna` tells; restart the machine."
        ) from error
    except OSError as error:
        raise ProviderError(
            f"'{command.argv[0]}' cannot be run: {error.strerror}. Name a working flm in options.binary, or install "
            "FastFlowLM: https://github.com/ROCm/FastFlowLM/releases"
        ) from error

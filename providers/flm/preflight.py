"""What would keep `flm` from loading any model on this machine, found before it tries."""

import asyncio
import logging

from providers.base import Node
from providers.errors import ProviderError
from providers.flm.asking import Answer, said
from providers.flm.options import FlmSlot
from providers.flm.validation import parsed_report, parsed_version, problems, version_warning

logger = logging.getLogger("hal0.flm")


async def preflight(slot: FlmSlot, node: Node) -> None:
    """Raises `ProviderError` with every problem that the program sees, each with what to do. What it says in terms that
    are not known here is no reason to refuse: other versions may say more."""
    asked = (said(slot, node, "validate", "--json"), said(slot, node, "version", "--json"))
    # Both have ended, however they do, so that no process is left.
    validated, told = (_or_raised(one) for one in await asyncio.gather(*asked, return_exceptions=True))
    if (warning := version_warning(parsed_version(told.output))) is not None:
        logger.warning("Slot '%s': %s", slot.name, warning)
    report = parsed_report(validated.output)
    if report is None:
        logger.warning("Slot '%s': `flm validate --json` says what is no report: %s", slot.name, validated.words)
    elif found := problems(report):
        raise ProviderError(" ".join(found))


def _or_raised(outcome: Answer | BaseException) -> Answer:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome

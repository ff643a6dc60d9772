"""The NPU, from its driver to three requests at once, by the same pieces that a slot is made of; without Ray."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import aiohttp

from providers.capabilities import Capability
from providers.devices import Device
from providers.flm.asking import Answer, said
from providers.flm.listing import close_tags, parsed_listing
from providers.flm.options import FlmSlot
from providers.flm.validation import Report, parsed_report, parsed_version, problems, version_warning
from providers.registry import provider
from serve_app.config import parse_slot
from serve_app.doctor.checklist import Checklist, Failed
from serve_app.doctor.trial import Trial
from serve_app.engine import Engine, LoadReport
from serve_app.errors import EngineDied, LoadFailed
from serve_app.machine import this_node
from serve_app.models.sizes import shown_bytes
from serve_app.models.store import ModelStore
from serve_app.progress import Progress, told_in_words
from serve_app.pulls import pulled
from serve_app.running import Running
from serve_app.settings import Settings

SLOT = "doctor"
KINDS = (Capability.CHAT, Capability.EMBEDDING, Capability.TRANSCRIPTION)
COMMAND_S = 300.0
"""Each command has a limit of its own."""
PULL_S = 6 * 3600.0
ANSWER_S = 120.0
STOP_S = 30.0
LOST_S = 2.0
"""A connection breaks a moment before its engine's end is known."""
REQUESTS = ("chat", "streamed chat", "embeddings", "transcription", "all at once")


def slot_of(model: str) -> FlmSlot:
    """All that one process serves. Raises `ConfigError`."""
    # By loudness alone: the tones that are sent for speech would be none to a detector of voices.
    options = {"voice_detector": "level"}
    raw = {"name": SLOT, "provider": "flm", "device": "npu", "model": model, "options": options}
    slot = parse_slot(raw | {"capabilities": list(KINDS)})
    assert isinstance(slot, FlmSlot)
    return slot


@dataclass(slots=True)
class Examination:
    slot: FlmSlot
    settings: Settings
    checks: Checklist
    pull: bool
    version: str | None = None
    report: Report | None = None
    figures: dict[str, str] = field(default_factory=dict)
    """What was measured, by name, in words."""
    last_lines: tuple[str, ...] = ()
    """Of an engine that did not come up, or went away."""

    async def run(self) -> None:
        """Every check, or why it could not be made. Cancelled, it stops the engine first."""
        here = await self.checks.check("flm", self._program, COMMAND_S)
        valid = here and await self.checks.check("NPU", self._validation, COMMAND_S)
        present = here and await self.checks.check("models", self._models, PULL_S)
        if valid and present:
            await self._engine()
            return
        if not here:
            self._skip("NPU", "models", why="there is no flm")
        self._skip("load", *REQUESTS, "stop", why="what it needs is not there")

    def _skip(self, *names: str, why: str) -> None:
        for name in names:
            self.checks.skip(name, why)

    async def _said(self, *words: str) -> Answer:
        return await said(self.slot, this_node(provider(self.slot.provider)), *words)

    async def _program(self) -> str:
        self.version = parsed_version((await self._said("version", "--json")).output)
        if self.version is None:
            raise Failed("the flm on PATH tells no version; is it FastFlowLM's?")
        warning = version_warning(self.version)
        return f"version {self.version}" if warning is None else f"version {self.version}; warning: {warning}"

    async def _validation(self) -> str:
        validated = await self._said("validate", "--json")
        self.report = report = parsed_report(validated.output)
        if report is None:
            raise Failed(f"`flm validate --json` says what is no report: {validated.words}")
        if found := problems(report):
            raise Failed(" ".join(found))
        devices = [f"{one.device} with {one.cols} columns, firmware {one.firmware}" for one in report.devices]
        return ", ".join([*devices, f"amdxdna {report.drm_version or 'unknown'}", f"Linux {report.kernel}"])

    async def _models(self) -> str:
        tags = sorted(set(self.slot.models.values()))
        listed = await self._said("list", "--json")
        try:
            known = parsed_listing(listed.output)
        except ValueError as error:
            raise Failed(f"`flm list --json` says what is no list: {listed.words}") from error
        if unknown := [tag for tag in tags if tag not in known]:
            alike = ", ".join(close_tags(unknown[0], known)) or "what `flm list` shows"
            raise Failed(f"this flm does not know {', '.join(unknown)}; allowed: {alike}")
        missing = [tag for tag in tags if not known[tag].installed]
        if missing and not self.pull:
            raise Failed(f"not on this machine: {', '.join(missing)}; fetch them with --pull, or with `flm pull TAG`")
        if missing:
            await pulled(ModelStore(self.settings.models_dir), self.slot, self._show_pull)
        return ", ".join(tags)

    def _show_pull(self, progress: Progress) -> None:
        self._tell("models", "pulling", progress)

    def _tell(self, check: str, state: str, progress: Progress) -> None:
        self.checks.meanwhile(state, told_in_words(check, {"state": state, "progress": progress.shown()}))

    async def _engine(self) -> None:
        engine = Engine(provider(self.slot.provider), self.slot, Device.NPU, self.settings, self._heard)
        loaded: list[Running] = []

        async def load() -> str:
            loaded.append(await engine.ensure_ready())
            return "it answers"

        try:
            if await self.checks.check("load", load, self.slot.load_timeout_s + ANSWER_S):
                await self._requests(loaded[0])
                await self.checks.check("stop", lambda: _stopped(engine, loaded[0]), STOP_S)
            else:
                self._skip(*REQUESTS, "stop", why="it is not loaded")
        finally:
            await engine.stop()

    def _heard(self, report: LoadReport) -> None:
        if report.error is None and report.load_seconds is None:
            self._tell("load", report.state, report.progress or Progress())
        if isinstance(report.error, LoadFailed | EngineDied):
            self.last_lines = report.error.last_lines
        if report.load_seconds is not None:
            self.figures["load"] = f"{report.load_seconds:.1f} s"
        if report.measured_bytes is not None:
            self.figures["engine memory"] = shown_bytes(report.measured_bytes)

    async def _requests(self, running: Running) -> None:
        async with aiohttp.ClientSession(trust_env=False) as http:
            trial = Trial(http, provider(self.slot.provider), self.slot, running.endpoint, self.figures)
            made = (trial.chat, trial.streamed_chat, trial.embeddings, trial.transcription, trial.all_at_once)
            for name, request in zip(REQUESTS, made, strict=True):
                if running.lost.done():
                    self._skip(name, why=self._ended(running))
                else:
                    await self.checks.check(name, partial(self._asked, running, request), ANSWER_S)

    async def _asked(self, running: Running, request: Callable[[], Awaitable[str]]) -> str:
        """What a request tells, or how the engine ended under it."""
        try:
            return await request()
        except Exception as error:
            await asyncio.wait([running.lost], timeout=LOST_S)
            if not running.lost.done():
                raise
            raise Failed(self._ended(running)) from error

    def _ended(self, running: Running) -> str:
        ended = f"the engine went away: {running.lost.result().detail}"
        advice = provider(self.slot.provider).advice(running.process.log.recent())
        return ended if advice is None else f"{ended.rstrip('.!')}. {advice}"


async def _stopped(engine: Engine, running: Running) -> str:
    await engine.stop()
    if running.process.alive:
        raise Failed(f"process {running.process.pid} is still there")
    return "nothing is left"

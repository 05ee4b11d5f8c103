"""`doctor --try CONTACT`: a few requests on one contact settle the assumptions on the API.

    trial = await try_contact(workspace, TrialRequest("asdrwHvLUxlfw5SqKVCN", "contact0000000000001"))

Rules
1. The requests go through the one gate, under the lease of the location, as a run of the history.
2. Every tag that is added begins with `PREFIX` and a part of the run's id: no manifest and no person uses it.
3. The tags are removed again, also after an error or a signal, and so are those that an earlier trial left. Tags that
   stay are told, with the way to remove them: the error that ends the trial says so.
4. Nothing is learnt of the contact itself: the state takes facts of the API alone.
"""

from __future__ import annotations

import secrets
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from reconciler.core.model.api_limits import Quota, TriedRow
from reconciler.core.model.batch import Batch
from reconciler.core.model.errors import (
    AuthRefused,
    InDoubt,
    InvalidInput,
    NotApplied,
    ReconcilerError,
    RequestRefused,
    StateError,
    Unfinished,
    UsageError,
)
from reconciler.core.model.names import ContactId, LocationId, Tag, looks_like_contact_id
from reconciler.core.model.outcome import Action
from reconciler.core.model.safe_text import visible
from reconciler.core.model.settings import Settings
from reconciler.core.observing.trial import (
    OLD_VERSION,
    PREFIX,
    RefusedCall,
    ShownContact,
    TrialAnswers,
    TrialTags,
    WrittenRow,
    is_proven_clean,
    list_left,
)
from reconciler.core.observing.trial_rows import judge_answers, learn_from_trial
from reconciler.core.running.batch_split import read_limits
from reconciler.core.running.pace import Pace
from reconciler.highlevel.client import TrialApi
from reconciler.journalled_run import HeldLease
from reconciler.operations.api import LocationApi
from reconciler.operations.quota import assume_sent_today
from reconciler.operations.refresh import begin_run, hold_location
from reconciler.operations.state_place import refuse_other_state
from reconciler.operations.stored_state import check_state, find_location
from reconciler.operations.workspace import Workspace, rate_from
from reconciler.request_gate import Halted, RequestGate, Stop
from reconciler.store import open_reader, open_store
from reconciler.wire import BulkUpdate, classify_absence

OPERATION = "try"
DATES_APART_MS = 2_000
"""So long a write is kept from the one before it: two dates of the same second would tell nothing."""
SEARCHED_MS = (3_000, 30_000)
"""A search looks for the tag so long after it was added."""
LOOK_AGAIN_MS = 10_000
"""So long after tags were seen that should be gone they are removed, and looked for, once more."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """A request to try the API out on a contact of the user's own."""

    location: str
    """The location, by id or name."""
    contact: str
    stop: Stop = field(default_factory=Stop)
    """Ends the trial early; the tags are removed all the same."""


@dataclass(frozen=True, slots=True, repr=False)
class TrialResult:
    """The rows that were looked at."""

    location: LocationId
    contact: ContactId
    run: str
    rows: tuple[TriedRow, ...]
    requests: int
    removed: tuple[str, ...] = ()
    """Tags that an earlier trial had left, and that are gone now."""


async def try_contact(workspace: Workspace, request: TrialRequest) -> TrialResult:
    """Tries the API out on a contact, stores the findings as facts, and leaves the contact's tags as they were.

    Raises UsageError, StateError, ApiError, Interrupted, and Unfinished where tags are left.
    """
    settings = workspace.load_settings()
    refuse_other_state(settings, workspace.directory)
    location, contact = _find_location(workspace, settings, request.location), ContactId(request.contact)
    if settings.api.max_tags < (count := len(TrialTags.make("").sent)):
        raise UsageError(
            f"a trial adds {count} tags in one request, and api.max_tags is {settings.api.max_tags}",
            hint="give it a larger one for the trial: --api-max-tags",
        )
    if not looks_like_contact_id(contact):
        raise UsageError(
            f"{contact[:80]!r} is no contact id: HighLevel's have 20 letters and digits",
            hint="it stands in the address of the contact's page",
        )
    _refuse_stateless(workspace, settings, location)
    api = LocationApi(workspace, settings, location, Pace(rate_from(settings)))
    await api.fetch_token()
    with open_store(settings.state) as store:
        async with await hold_location(workspace, store, location, OPERATION, 0) as held:
            state = check_state(settings, await held.call(held.store.load_state))
            # in the history: who looks at it later sees what wrote the tags
            async with begin_run(held) as run:
                await held.call(assume_sent_today, api.pace, workspace.clock, held.store)
                trial = _Trial(api, held, contact, request.stop, TrialTags.make(run.id[:8]))
                answers = await trial.run()
                rows = judge_answers(answers, workspace.clock.now())
                facts = learn_from_trial(state.facts, rows, answers, workspace.clock.now())
                await held.call(held.store.save_facts, held.lease, facts)
    return TrialResult(location, contact, run.id, rows, trial.requests, tuple(list_left(answers.before.tags)))


def _find_location(workspace: Workspace, settings: Settings, name: str) -> LocationId:
    """The location, which a trial may give a state; raises UsageError where nothing names it: it may be mistyped."""
    location = settings.find_location(name)
    try:
        loaded = workspace.load_manifests(now=workspace.clock.now(), pulls=True, locations=[name])
    except InvalidInput:
        # manifests with faults name no location: settings and state do
        declared = set[LocationId]()
    else:
        declared = {*loaded.elsewhere, *(manifest.location for manifest in loaded.manifests)}
    if location in declared:
        return location
    with open_reader(settings.state) as reader:
        return find_location(reader, name, settings, declared)


def _refuse_stateless(workspace: Workspace, settings: Settings, location: LocationId) -> None:
    # a state that is missing in CI was lost: a trial does not make a new one that hides this
    if not workspace.in_ci:
        return
    with open_reader(settings.state) as reader:
        if reader.at(location).load_state().lineage is None:
            raise StateError(f"location {location} has no state here, and this is CI", hint="name it with --state")


@dataclass(slots=True)
class _Trial:
    """The requests of one trial. `shown`: the tags of the last read."""

    api: LocationApi
    held: HeldLease
    contact: ContactId
    stop: Stop
    tags: TrialTags
    quotas: list[Quota] = field(default_factory=list)
    requests: int = 0
    wrote: bool = False

    @property
    def settings(self) -> Settings:
        return self.api.settings

    async def run(self) -> TrialAnswers:
        """The answers; the contact has the tags that it had before, or an error tells which it has still."""
        gate = self._make_gate()
        async with TrialApi(self.settings.api.base_url, **self.api.make_arguments(self._on_quota)) as api:
            self.stop.listen(gate.halt)
            try:
                answers = await self._ask_all(gate, api)
            except (ReconcilerError, Halted, CancelledError) as error:
                raise await self._clean_up(api, error) from None
            finally:
                self.stop.forget(gate.halt)
            await self._verify(api, answers)
        return answers

    def _make_gate(self) -> RequestGate:
        workspace = self.api.workspace
        return RequestGate(self.api.location, self.api.pace, workspace.clock, workspace.listener, self.held)

    def _on_quota(self, quota: Quota) -> None:
        self.quotas.append(quota)
        self.api.heed_quota(quota)

    async def _ask_all(self, gate: RequestGate, api: TrialApi) -> TrialAnswers:
        before = await self._read_first(gate, api)
        if before.location not in ("", self.api.location):
            raise UsageError(f"contact {self.contact} is in location {visible(before.location)[:80]}")
        answers = TrialAnswers(self.tags, self.contact, before)
        # under another id it may be another person's contact: nothing is written to that
        if before.id == self.contact:
            answers = await self._try_writes(gate, api, answers)
        answers = replace(
            answers, version=await self._try_version(gate, api), missing=await self._read_missing(gate, api)
        )
        if before.id == self.contact:
            answers = await self._try_size(gate, api, answers)
        return replace(answers, quotas=tuple(self.quotas))

    async def _read_first(self, gate: RequestGate, api: TrialApi) -> ShownContact:
        try:
            return await self._read(gate, lambda: api.get_contact(self.contact))
        except RequestRefused as error:
            raise RequestRefused(
                f"contact {self.contact} cannot be read: {error.message}",
                status=error.status,
                hint=error.hint or "see the id: it stands in the address of the contact's page",
                said=error.said,
            ) from None

    async def _try_writes(self, gate: RequestGate, api: TrialApi, answers: TrialAnswers) -> TrialAnswers:
        """Adds the tags, and adds them again."""
        clock, began = self.api.workspace.clock, self.api.workspace.clock.now()
        answers = replace(answers, added=await self._write(gate, api, Action.ADD, self.tags.sent))
        answered = clock.now()
        answers = replace(answers, after_add=await self._read(gate, lambda: api.get_contact(self.contact)))
        answers = replace(answers, read_after_ms=clock.now() - answered)
        # nothing was added: a search would look for it in vain
        if isinstance(answers.added, RefusedCall) and not answers.reads_what_is:
            return answers
        answers = await self._look_by_search(gate, api, answers, began)
        answers = replace(answers, again=await self._write(gate, api, Action.ADD, self.tags.sent))
        return replace(answers, after_again=await self._read(gate, lambda: api.get_contact(self.contact)))

    async def _try_size(self, gate: RequestGate, api: TrialApi, answers: TrialAnswers) -> TrialAnswers:
        """A removal as large as is allowed, of the trial's tags and of others that no contact has."""
        # what does not fit is removed at the end
        own = (*list_left(answers.before.tags), *self.tags.sent)[-self.settings.api.max_tags :]
        # last in the list: a server that cuts it removes none of them
        removed = (*self._fillers(len(own)), *own)
        answers = replace(answers, sized_tags=len(removed), sized=await self._write(gate, api, Action.REMOVE, removed))
        if isinstance(answers.sized, RefusedCall):
            answers = replace(answers, removed=await self._write(gate, api, Action.REMOVE, own))
        return replace(answers, after_sized=await self._read(gate, lambda: api.get_contact(self.contact)))

    def _fillers(self, own: int) -> list[str]:
        """Tags that no contact has: with so many of trials they make a request as large as is allowed."""
        return [f"{self.tags.plain}-{number}" for number in range(self.settings.api.max_tags - own)]

    async def _look_by_search(
        self, gate: RequestGate, api: TrialApi, answers: TrialAnswers, began: int
    ) -> TrialAnswers:
        clock, location = self.api.workspace.clock, self.api.location
        for waited in SEARCHED_MS:
            await self._wait(gate, began + waited - clock.now(), "a search lags")
            if await self._read(gate, lambda: api.has_shown(location, self.tags.plain)):
                return replace(answers, shown_after_ms=clock.now() - began)
        return replace(answers, searched_ms=clock.now() - began)

    async def _try_version(self, gate: RequestGate, api: TrialApi) -> RefusedCall | Literal["taken"]:
        # a connection of its own: the version is one of its headers. An agency's token was exchanged by the other one
        arguments = self.api.make_arguments()
        arguments["version"], arguments["token"], arguments["agency"] = OLD_VERSION, await api.token(), None
        async with TrialApi(self.settings.api.base_url, **arguments) as old:
            return await self._expect_refusal(gate, lambda: old.get_contact(self.contact)) or "taken"

    async def _read_missing(self, gate: RequestGate, api: TrialApi) -> RefusedCall | Literal["found"]:
        # 20 letters and digits, as HighLevel issues them
        nobody = ContactId(secrets.token_hex(10))
        return await self._expect_refusal(gate, lambda: api.get_contact(nobody)) or "found"

    async def _expect_refusal(self, gate: RequestGate, request: Callable[[], Awaitable[object]]) -> RefusedCall | None:
        try:
            await self._read(gate, request)
        except (RequestRefused, AuthRefused) as error:
            return _describe_refusal(error)
        return None

    async def _read(self, gate: RequestGate, request: Callable[[], Awaitable[T]]) -> T:
        # a read that is sent again counts once: the gate reports its waits
        self.requests += 1
        _, answer = await gate.read_with_retries(request)
        return answer

    async def _write(
        self, gate: RequestGate, api: TrialApi, action: Action, tags: Iterable[str]
    ) -> WrittenRow | RefusedCall:
        """Raises InDoubt where the answer does not tell."""
        update = BulkUpdate(action, self.api.location, (self.contact,), tuple(tags))
        if action is Action.ADD and self.wrote:
            await self._wait(gate, DATES_APART_MS, "two dates have to differ")
        wrote = self.wrote
        try:
            return await self._send(gate, api, update)
        except AuthRefused:
            # refused for its token or a scope: it had no effect
            self.wrote = wrote
            raise
        except RequestRefused as error:
            # the words that apply reads a size from, too
            limits = read_limits("; ".join(error.said), Batch(action, update.contacts, tuple(map(Tag, update.tags))))
            return replace(_describe_refusal(error), limit=limits[1] if limits else None)
        except InDoubt as error:
            error.reword(
                f"{error.message}; the request may still take effect: look at contact {self.contact} in a few minutes"
            )
            raise

    async def _send(self, gate: RequestGate, api: TrialApi, update: BulkUpdate) -> WrittenRow:
        """The answer; once more where the token of the location ended, and was exchanged anew."""
        for last in (False, True):
            ticket = await gate.take_turn(api.ready)
            self.wrote, self.requests = True, self.requests + 1
            try:
                return await gate.write(ticket, api.update_tags(update))
            except NotApplied as error:
                if last or type(error) is not NotApplied:
                    raise
        raise AssertionError

    async def _wait(self, gate: RequestGate, milliseconds: int, why: str) -> None:
        # a pause of the gate ends as soon as a signal asks for it
        if milliseconds > 0:
            await gate.pause(milliseconds, why)

    async def _verify(self, api: TrialApi, answers: TrialAnswers) -> None:
        """Removes the tags that the large request left; raises Unfinished where some stay, or nothing tells."""
        left = list_left(answers.after_sized.tags) if answers.after_sized else []
        if not left and not is_proven_clean(answers) and isinstance(answers.added, RefusedCall):
            # most likely nothing was added: a second look some time later is as good as anybody can have
            left = await self._look_again(api)
            if not left:
                return
        if left:
            # a read may lag, too: then another look some time later shows what is
            await self._wait(self._make_gate(), LOOK_AGAIN_MS, "the tags have to be gone")
            await self._remove(api, left)
        elif not is_proven_clean(answers):
            raise self._make_unfinished(self.tags.sent, ": no read showed them, and no row tells that they are gone")

    async def _look_again(self, api: TrialApi) -> list[str]:
        """The tags of trials that the contact has some time later; raises Unfinished where nothing tells."""
        gate = self._make_gate()
        try:
            await self._wait(gate, LOOK_AGAIN_MS, "the tags have to be gone")
            return list_left((await self._read(gate, lambda: api.get_contact(self.contact))).tags)
        except ReconcilerError as error:
            raise self._make_unfinished(self.tags.sent, f": {error.message}") from None

    async def _clean_up(self, api: TrialApi, error: BaseException) -> BaseException:
        """The error that ended the trial, with the tags that stay on the contact where they cannot be removed."""
        shown = self.stop.interrupted if isinstance(error, Halted) else error
        # before the first write there is nothing to remove
        if not self.wrote or not isinstance(shown, ReconcilerError | CancelledError):
            return shown or error
        told = f"the trial's tags are gone from contact {self.contact}"
        try:
            await self._remove(api, self.tags.sent)
        except ReconcilerError as failed:
            told = f"{failed.message}; {'; '.join(failed.hints)}"
        if isinstance(shown, ReconcilerError):
            shown.reword(f"{shown.message}; {told}")
            return shown
        return shown

    async def _remove(self, api: TrialApi, tags: Iterable[str]) -> None:
        """Removes tags, and reads the contact; raises Unfinished where it has some of them still."""
        # a gate of its own: the one that was halted lets nothing more leave
        gate, sent = self._make_gate(), tuple(dict.fromkeys((*tags, *self.tags.sent)))
        failure, size = "", self.settings.api.max_tags
        try:
            for start in range(0, len(sent), size):
                await self._write(gate, api, Action.REMOVE, sent[start : start + size])
            left = list_left((await self._read(gate, lambda: api.get_contact(self.contact))).tags)
        except ReconcilerError as error:
            left, failure = list(sent), f": {error.message}"
        if left:
            raise self._make_unfinished(left, failure)

    def _make_unfinished(self, left: Iterable[str], why: str) -> Unfinished:
        named = ", ".join(repr(visible(tag)) for tag in left)
        return Unfinished(
            f"contact {self.contact} may still have tags of the trial, {named}{why}",
            hint=f"remove its tags that begin with {PREFIX} in HighLevel, or try the contact again: that does it",
        )


def _describe_refusal(error: RequestRefused | AuthRefused) -> RefusedCall:
    # other words may be those of a gateway, and prove nothing of a contact
    is_absence = classify_absence(error.said, error.status) is not None
    return RefusedCall(error.status, error.said, is_absence)

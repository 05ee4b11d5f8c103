"""What a run tells people of its end and of its waits, whole: the error and its remedy, the remarks, why a pair did not
end well."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.errors import StateError
from reconciler.core.model.events import Waiting
from reconciler.core.model.journal import LocationReport
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import LocationId
from reconciler.core.running.stop_conditions import Canary, StopOn
from reconciler.sandbox.app import DEMO_TOKEN, WRITE_CONTACTS, Access
from reconciler.store import open_store
from tests.apply.test_begin_and_end import leave_state
from tests.apply.test_beside import HookedStore
from tests.apply.test_examine_refused import WELCOME, consume, learns, refusing
from tests.apply.test_pulled_between import VIP, keep, snapshot
from tests.apply.test_reading import gone_after_the_write
from tests.apply.test_refusing import TEN, WRITES, teach
from tests.apply.test_resuming import looked_at
from tests.apply.test_scenarios import FREE, faults
from tests.apply.test_slow_release import make as make_slow
from tests.apply.test_slow_release import wanted
from tests.apply.test_stopping import CROWD, LONE, with_strangers
from tests.build import HERE, a_rule, a_set, contact, name
from tests.fakes import START
from tests.sandbox.faults import Fault, FaultKind, FaultPlan
from tests.scene import THERE, Scene

SAYS = "https://api.example answered"
SCOPE = f"{SAYS} 401: The token is not authorized for this scope.; the token lacks a scope"
MAY_NOT_READ = f"the token may not read contacts of location {HERE} ({SCOPE})"
TOO_LONG = f"{SAYS} 422: each value in tags must be shorter than or equal to 5 characters"
TOO_MANY = f"{SAYS} 422: contacts must contain not more than 6 elements"
BAD = f"{SAYS} 400: Bad Request"
FAULT = "Internal server error"
RESET = "no answer from https://api.example: the sandbox reset the connection"
STOPPED = "the run stopped before it was sent"
UNPROVEN = "not there when it was read; it may have been, and nothing proves that it was not"
TRIED = "an earlier run of this plan sent it, and no reading proves that it had no effect: a new plan may add it"
NOT_READ = "nobody may read contacts, to see whether it took effect"
LOOKED_AT = "a request was refused: once it can no longer take effect, its contacts are looked at again"
LOOK_ABOVE = "what was sent is told above; look at it, then plan and apply again to go on"
EFFECT = "a refused request may have taken effect"
SMALLER = "a request was refused for its size, smaller ones from here on"
ONCE_MORE = "a request was refused, and is sent once more"
JUST_WRITTEN = "contacts were just written: their dates shall tell the next request from that"
SECOND_TIME = "a request was refused, and taken the second time: nothing is learnt of that"
CANNOT_SEND = Access(scopes=frozenset())
CANNOT_READ = Access(scopes=frozenset({WRITE_CONTACTS}))


def settling(contacts: int) -> str:
    return f"what is in doubt settles: then {'1 contact is' if contacts == 1 else f'{contacts:,} contacts are'} read"


@dataclass(frozen=True)
class Told:
    pairs: dict[str, int]
    error: str = ""
    hint: str = ""
    notes: tuple[str, ...] = ()
    whys: frozenset[str] = frozenset()
    """Of pairs that did not end well, or were not sent."""
    waits: tuple[str, ...] = ()


def told_by(scene: Scene, report: LocationReport) -> Told:
    return Told(
        {outcome.value: number for outcome, number in report.pairs.items()},
        report.error,
        report.hint,
        report.notes,
        frozenset({each.message for each in report.findings} | {each.why for each in report.unsent}),
        tuple(dict.fromkeys(event.why for event in scene.events if isinstance(event, Waiting))),
    )


Play = Callable[[Path], tuple[Scene, LocationReport]]


def ten(*, of: str = "", wanted: str = "a", **more: Any) -> Callable[[Path], Scene]:
    """Ten contacts, a tag wanted on all of them."""

    def make(directory: Path) -> Scene:
        scene = Scene(directory, *(contact(each, of) for each in TEN), **{"options": FREE} | more)
        scene.want(a_set("s", TEN, wanted), rule=[WELCOME])
        return scene

    return make


def applied(
    make: Callable[[Path], Scene], prepare: Callable[[Scene], object] = lambda scene: None, **more: Any
) -> Play:
    def play(directory: Path) -> tuple[Scene, LocationReport]:
        scene = make(directory)
        prepare(scene)
        return scene, scene.apply(**more)

    return play


def access(access: Access | None) -> Callable[[Scene], object]:
    def grant(scene: Scene) -> None:
        scene.here.app._accesses = {} if access is None else {DEMO_TOKEN: access}

    return grant


def hooked(after: Callable[[Scene, str], None], **more: Any) -> Play:
    """`after` each call of the state."""

    def play(directory: Path) -> tuple[Scene, LocationReport]:
        scene = two(**more)(directory)
        with open_store(scene.url) as store:
            return scene, scene.apply(store=HookedStore(store, lambda called: after(scene, called)))

    return play


def two(first: str = "a", second: str = "b", **more: Any) -> Callable[[Path], Scene]:
    def make(directory: Path) -> Scene:
        scene = Scene(directory, contact("anna"), contact("bert"), **{"options": FREE} | more)
        scene.want(a_set("s", "anna", first), a_set("t", "bert", second))
        return scene

    return make


def wait_with_intents(scene: Scene, called: str) -> None:
    scene.clock.ms += 11_000 if called == "record_intent" else 0


def delete_anna(scene: Scene) -> None:
    scene.here.before = lambda nth: scene.here.crm.delete(name("anna"), now=scene.clock.now())


def knows_and_consumes(scene: Scene) -> None:
    consume(scene, "a", of=TEN)


def removing(scene: Scene) -> None:
    """What all have goes again, some time later."""
    scene.apply()
    scene.events.clear()
    scene.clock.ms += 60_000
    scene.want(a_set("s", TEN, absent="a"))


def each_is_refused(scene: Scene) -> None:
    removing(scene)
    scene.here.network.plan = FaultPlan(rate=1.0, kinds=(FaultKind.REFUSED_AFTER,), path=WRITES)


def crowd(*, gone: int) -> Callable[[Path], Scene]:
    def make(directory: Path) -> Scene:
        scene = Scene(
            directory,
            *(contact(each, deleted=nth < gone) for nth, each in enumerate(CROWD)),
            options=FREE,
        )
        scene.want(a_set("s", CROWD, "vip"))
        return scene

    return make


def killed_and_unreadable(directory: Path) -> tuple[Scene, LocationReport]:
    """An earlier run was killed with a removal under way, and a gateway answers for the API."""
    scene = Scene(directory, contact("anna", "a"), contact("bert"), options=FREE)
    scene.want(a_set("s", "anna", absent="a"))
    scene.apply_and_die(before=0)
    scene.want(a_set("s", "anna", absent="a"), a_set("t", "bert", "b"))
    scene.here.network.plan = FaultPlan(rate=1.0, kinds=(FaultKind.ERROR_BEFORE,), path=f"/contacts/{name('anna')}")
    report = scene.apply()
    # what is said of the readings, and of what is left, is held elsewhere
    scene.events.clear()
    return scene, replace(report, notes=())


def tried_before(directory: Path) -> tuple[Scene, LocationReport]:
    """The addition of an earlier run of the plan landed, a workflow consumed it, and a refresh looked."""
    scene = Scene(directory, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "hello"))
    plan = scene.plan()
    scene.apply_and_die(plan, after=0)
    scene.edit("anna", remove=["hello"])
    looked_at(scene, "anna")
    return scene, scene.apply(plan)


def removal_lost_twice(directory: Path) -> tuple[Scene, LocationReport]:
    lost = faults(None, FaultKind.TIMEOUT_BEFORE, FaultKind.TIMEOUT_BEFORE)
    scene = Scene(directory, contact("anna"), faults=lost, options=FREE)
    scene.want(a_set("s", "anna", "one vip"))
    scene.apply()
    scene.want(a_set("s", "anna", "one"))
    return scene, scene.apply()


def silent(directory: Path) -> tuple[Scene, LocationReport]:
    people = [f"c{nth:02}" for nth in range(15)]
    fault = Fault(FaultKind.ERROR_BEFORE, 503)
    plan = FaultPlan(dict.fromkeys(range(15), fault), path=WRITES)
    scene = Scene(directory, *map(contact, people), faults=plan, options=LONE)
    scene.want(a_set("s", people, "a"))
    return scene, scene.apply()


def larger_refused(scene: Scene) -> None:
    teach(scene, 2, contacts=3)


def forty(directory: Path) -> tuple[Scene, LocationReport]:
    tags = [f"t{nth:02}" if nth % 2 else f"much too long {nth:02}" for nth in range(50)]
    scene = Scene(directory, contact("anna"), options=FREE, longest_tag=5)
    scene.want(a_set("s", "anna", (*tags, "a ok")))
    return scene, scene.apply()


def spelt_otherwise(directory: Path) -> tuple[Scene, LocationReport]:
    scene = Scene(directory, contact("anna"), options=FREE, collapses_spaces=True)
    scene.want(a_set("s", "anna", ("two  spaces",)))
    return scene, scene.apply()


def guarded_twice(directory: Path) -> tuple[Scene, LocationReport]:
    """What the first answer decides takes one request too many, and a removal too many."""
    limits = replace(FREE.limits, max_removes=1, max_requests=1)
    scene = Scene(directory, contact("anna", "old"), contact("bert", "old"), options=replace(FREE, limits=limits))
    scene.want(a_set("s", "anna bert", "new", authority=Authority.OWNED), rule=[a_rule("old")])
    return scene, scene.apply()


def strangers(directory: Path) -> tuple[Scene, LocationReport]:
    scene = with_strangers(directory, 100, 20, options=FREE)
    return scene, scene.apply()


def look_that_is_not_saved(directory: Path) -> tuple[Scene, LocationReport]:
    """The first write's date could not be read; the second request is refused, and what tells of it cannot be saved."""
    scene = Scene(directory, contact("anna"), contact("bert"), options=FREE, in_flight=1)
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "welcome"), rule=[WELCOME])

    def always(status: int, path: str) -> FaultPlan:
        return FaultPlan(dict.fromkeys(range(100), Fault(FaultKind.ERROR_BEFORE, status)), path=path)

    def write(nth: int) -> None:
        scene.here.network.plan = always(400, WRITES) if nth else FaultPlan()

    def read(nth: int) -> None:
        scene.here.network.plan = FaultPlan() if nth else always(503, f"/contacts/{name('anna')}")

    def fail(called: str) -> None:
        if called == "save_facts":
            raise StateError("the disk is full", hint="make room")

    scene.here.before, scene.here.read = write, read
    with open_store(scene.url) as store:
        return scene, scene.apply(store=HookedStore(store, fail))


def answers_that_are_not_taken(directory: Path) -> tuple[Scene, LocationReport]:
    """The state takes no answer, and no place beside it either."""
    scene = Scene(directory, contact("anna"), contact("bert"), options=LONE, in_flight=1)
    scene.want(a_set("s", "anna bert", "a"))

    def fail(called: str) -> None:
        if called == "record_answer":
            raise StateError("the disk is full", hint="make room")

    with open_store(scene.url) as store:
        return scene, scene.apply(store=HookedStore(store, fail))


def used_up(directory: Path) -> tuple[Scene, LocationReport]:
    scene = two()(directory)
    plan = scene.plan()
    scene.apply(plan)
    report = scene.apply(plan)
    return scene, replace(report, error=report.error.replace(scene.runs()[0].id, "R"))


def of_another_lineage(directory: Path) -> tuple[Scene, LocationReport]:
    scene = two()(directory)
    plan = scene.plan()
    located = replace(plan.locations[0], lineage="another")
    report = scene.apply(replace(plan, locations=(located,)))
    with open_store(scene.url) as store:
        lineage = store.at(HERE).load_state().lineage or ""
    return scene, replace(report, error=report.error.replace(lineage, "L"))


def migrated_since(directory: Path) -> tuple[Scene, LocationReport]:
    """The state went to another place while somebody read the plan."""
    scene = two()(directory)
    plan = scene.plan()
    leave_state(scene)
    return scene, scene.apply(plan)


def of_a_run_without_rows(directory: Path) -> tuple[Scene, LocationReport]:
    """The plan's run was killed, and gave up its rows since."""
    scene = two()(directory)
    plan = scene.plan()
    scene.apply_and_die(plan, after=0)
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"), a_set("u", "anna", "c"))
    scene.apply(history_keep=1)
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    report = scene.apply(plan)
    return scene, replace(report, error=report.error.replace(scene.runs()[0].id, "R"))


def pulled_since(directory: Path) -> tuple[Scene, LocationReport]:
    scene, resolved = Scene(directory, contact("Anna"), contact("Bert")), snapshot("Anna", "Bert")
    keep(scene, resolved)
    scene.want(a_set("vip", "Anna Bert", "vip"))
    plan = scene.plan()
    keep(scene, snapshot("Anna"))
    return scene, scene.apply(plan, snapshots={HERE: {VIP: resolved}})


def expired(directory: Path) -> tuple[Scene, LocationReport]:
    scene = Scene(directory, contact("anna"))
    scene.want(a_set("s", "anna", "a", until=scene.clock.now() + 60_000))
    plan = scene.plan()
    scene.clock.ms += 60_000
    return scene, scene.apply(plan)


def unreadable(*, gone: bool = False, location: LocationId = HERE, faults: FaultPlan) -> Play:
    """Fourteen contacts in doubt that are read one after the other."""
    people = [f"c{nth:02}" for nth in range(14)]

    def play(directory: Path) -> tuple[Scene, LocationReport]:
        everybody = [contact(each, location=location) for each in people]
        scene = Scene(directory, *everybody, faults=faults, options=FREE, in_flight=1)
        scene.want(a_set("s", people, "a"))
        if gone:
            gone_after_the_write(scene, people)
        return scene, scene.apply()

    return play


def slowly(*, until: int | None = None, **more: Any) -> Play:
    """A tag that is given to five contacts an hour is wanted on twelve."""

    def play(directory: Path) -> tuple[Scene, LocationReport]:
        scene = make_slow(directory)
        return scene, scene.run(wanted(until=until), **more)

    return play


NEXT = "until 2026-11-18 12:07Z (pace of welcome: 5 in 1h)"
OF_ITS_OWN = f"location {HERE} needs a token of its own, with the scope contacts.write"
REFUSED = FaultKind.REFUSED_AFTER
RUNS: dict[str, tuple[Play, Told]] = {
    "a state that is slow": (
        hooked(wait_with_intents),
        Told(
            {"not_sent": 2},
            "the state takes longer than 10 s to write down what is about to be sent",
            "see what else works on it, then apply again",
            whys=frozenset({STOPPED}),
        ),
    ),
    "a token without the scope": (
        applied(two(), access(CANNOT_SEND)),
        Told(
            {"not_sent": 2},
            f"{SCOPE}; {OF_ITS_OWN}",
            "give it the scopes contacts.readonly and locations/tags.readonly, and contacts.write to apply",
            whys=frozenset({STOPPED}),
        ),
    ),
    "a token that is none": (
        applied(two(), access(None)),
        Told(
            {"not_sent": 2},
            f"{SAYS} 401: Invalid token: access token is invalid; the token is expired, revoked or rotated, or is no "
            f"token of this API; {OF_ITS_OWN}",
            "make a new token in HighLevel, and set it where the old one is held",
            whys=frozenset({STOPPED}),
        ),
    ),
    "a size that is named": (
        applied(ten(max_contacts=6)),
        Told({"applied": 10}, notes=(f"{SMALLER}: {TOO_MANY}",), waits=(LOOKED_AT,)),
    ),
    "a size that is not named": (
        applied(ten(max_contacts=6, oversize_names_limit=False)),
        Told({"applied": 10}, notes=(f"{SMALLER}: {BAD}",), waits=(LOOKED_AT, f"{ONCE_MORE}: {BAD}")),
    ),
    "a larger request": (
        applied(ten(max_contacts=3, oversize_names_limit=False), larger_refused),
        Told(
            {"applied": 10},
            notes=(f"a larger request than was learnt was tried, and refused: {BAD}",),
            waits=(LOOKED_AT,),
        ),
    ),
    "a refusal that passes": (
        applied(ten(faults=FaultPlan({0: Fault(FaultKind.TRY_LATER, 400)}, path=WRITES))),
        Told(
            {"applied": 10},
            notes=(f"{SECOND_TIME}: {SAYS} 400: Please try again later",),
            waits=(LOOKED_AT, f"{ONCE_MORE}: {SAYS} 400: Please try again later"),
        ),
    ),
    "a refusal with an effect": (
        applied(ten(faults=refusing(REFUSED, status=400))),
        Told({"seen": 10}, notes=(f"{EFFECT}: {BAD}; {name('c0')} carries a now",), waits=(settling(10),)),
    ),
    "a refusal with an effect that was consumed": (
        applied(ten(faults=refusing(REFUSED, status=400)), knows_and_consumes),
        Told(
            {"held": 10},
            notes=(f"{EFFECT}: {BAD}; {name('c0')} was changed since it was sent",),
            whys=frozenset({UNPROVEN}),
            waits=(settling(10),),
        ),
    ),
    "a refused removal with an effect": (
        applied(ten(of="a", faults=refusing(None, REFUSED, status=400)), removing),
        Told(
            {"seen": 10},
            notes=(f"{EFFECT}: {BAD}; {name('c0')} does not carry a any more",),
            waits=(settling(10),),
        ),
    ),
    "a refusal of what may start a workflow": (
        applied(ten(wanted="welcome", faults=refusing(FaultKind.ERROR_BEFORE, status=400))),
        Told(
            {"held": 10},
            notes=(f"{EFFECT}: {SAYS} 400: {FAULT}; nothing tells whether a workflow has consumed what it added",),
            whys=frozenset({UNPROVEN}),
            waits=(settling(10),),
        ),
    ),
    "a refusal that nobody may look into": (
        applied(ten(max_contacts=6), access(CANNOT_READ)),
        Told(
            {"held": 10},
            notes=(f"{EFFECT}: {TOO_MANY}; {MAY_NOT_READ}", f"{SMALLER}: {TOO_MANY}"),
            whys=frozenset({f"{TOO_MANY}; {MAY_NOT_READ}"}),
        ),
    ),
    "a refusal without a reader": (
        applied(ten(max_contacts=6, may_read=False)),
        Told(
            {"held": 10},
            notes=(f"{EFFECT}: {TOO_MANY}; {NOT_READ}", f"{SMALLER}: {TOO_MANY}"),
            whys=frozenset({f"{TOO_MANY}; {NOT_READ}"}),
        ),
    ),
    "removals that are refused throughout": (
        applied(ten(of="a", may_read=False), each_is_refused),
        Told({"held": 10}, f"{SAYS} 409: Bad Request", whys=frozenset({f"{SAYS} 409: Bad Request; {NOT_READ}"})),
    ),
    "a refusal of every request": (
        applied(ten(faults=refusing(FaultKind.ERROR_BEFORE, status=404)), lambda scene: learns(scene, moves=True)),
        Told(
            {"in_doubt": 10},
            f"{SAYS} 404: {FAULT}",
            notes=(f"{EFFECT}: {SAYS} 404: {FAULT}; nothing of it is seen so far, and it may show later",),
            whys=frozenset({f"{SAYS} 404: {FAULT}; nothing of it is seen so far, and it may show later"}),
        ),
    ),
    "a tag at fault": (
        applied(ten(wanted="a b c much-too-long", longest_tag=5)),
        Told(
            {"applied": 30, "not_sent": 10},
            whys=frozenset({TOO_LONG}),
            waits=(LOOKED_AT, f"{ONCE_MORE}: {TOO_LONG}", JUST_WRITTEN),
        ),
    ),
    "a refusal of a single pair": (
        applied(ten(wanted="too-long", longest_tag=5)),
        Told(
            {"not_sent": 10},
            TOO_LONG,
            "a single contact and tag is refused too; if it is the size, see api.max_contacts and max_tags",
            whys=frozenset({STOPPED}),
            waits=(LOOKED_AT, f"{ONCE_MORE}: {TOO_LONG}"),
        ),
    ),
    "refusals without end": (
        forty,
        Told(
            {"applied": 25, "not_sent": 26},
            f"requests are refused as a whole, and 40 more did not tell why: {TOO_LONG}",
            "see api.max_contacts and api.max_tags, and the tags of the batch",
            whys=frozenset({TOO_LONG, STOPPED}),
            waits=(LOOKED_AT, f"{ONCE_MORE}: {TOO_LONG}", JUST_WRITTEN),
        ),
    ),
    "a doubt of what was read": (
        applied(two(faults=faults(None, FaultKind.TIMEOUT_BEFORE), tag_write_moves_date=False)),
        Told({"applied": 1, "held": 1}, whys=frozenset({UNPROVEN}), waits=(settling(1),)),
    ),
    "a doubt of what nobody may read": (
        applied(two(faults=faults(FaultKind.RESET_AFTER)), access(CANNOT_READ)),
        Told(
            {"applied": 1, "in_doubt": 1},
            notes=(f"what is in doubt stays held: {MAY_NOT_READ}",),
            whys=frozenset({RESET}),
            waits=(settling(1),),
        ),
    ),
    "a doubt of who is gone": (
        applied(two("a", "a", faults=faults(FaultKind.RESET_BEFORE)), delete_anna),
        Told(
            {"held": 1, "rejected": 1},
            whys=frozenset({UNPROVEN, "not found when it was read: deleted"}),
            waits=(settling(2),),
        ),
    ),
    "a removal that was lost twice": (
        removal_lost_twice,
        Told(
            {"held": 1},
            whys=frozenset({"still there when it was read, after it was sent twice"}),
            waits=(settling(1),),
        ),
    ),
    "a doubt of an earlier run that cannot be read": (
        killed_and_unreadable,
        Told(
            {"applied": 1, "held": 1},
            whys=frozenset({"an earlier run sent it, and it could not be read"}),
        ),
    ),
    "an addition of an earlier run that was consumed": (
        tried_before,
        Told(
            {"held": 1},
            whys=frozenset({TRIED}),
        ),
    ),
    "requests without an answer": (
        silent,
        Told(
            {"in_doubt": 10, "not_sent": 5},
            f"10 requests in a row are of unknown effect, the last one: {SAYS} 503: {FAULT}",
            "apply again when the API is well: what is in doubt is settled first",
            whys=frozenset({f"{SAYS} 503: {FAULT}", STOPPED}),
        ),
    ),
    "many that are refused": (
        strangers,
        Told(
            {"applied": 100, "rejected": 20},
            f"20 of 120 rows were refused, and not as deleted: the token or the location {HERE} is probably wrong; "
            "nobody was quarantined",
            "see that the token is of this location and the manifests name its contacts, then apply again; `reconciler "
            "state forget` gives up contacts that are really gone",
            whys=frozenset({"contact does not belong to location"}),
        ),
    ),
    "a canary of five": (
        applied(crowd(gone=3), canary=Canary(5), stop_on=StopOn(errors=20)),
        Told(
            {"applied": 2, "not_sent": 195, "rejected": 3},
            "after the first 5 contacts: error_rate is 60.0 % (3 of 5), limit 20 %",
            LOOK_ABOVE,
            whys=frozenset({"contact is deleted", STOPPED}),
        ),
    ),
    "a canary of two": (
        applied(crowd(gone=1), canary=Canary(2), stop_on=StopOn(errors=20)),
        Told(
            {"applied": 1, "not_sent": 198, "rejected": 1},
            "after the first 2 contacts: error_rate is 50.0 % (1 of 2), limit 20 %",
            LOOK_ABOVE,
            whys=frozenset({"contact is deleted", STOPPED}),
        ),
    ),
    "a canary of one": (
        applied(crowd(gone=1), canary=Canary(1), stop_on=StopOn(errors=20)),
        Told(
            {"not_sent": 199, "rejected": 1},
            "after the first 1 contact: error_rate is 100.0 % (1 of 1), limit 20 %",
            LOOK_ABOVE,
            whys=frozenset({"contact is deleted", STOPPED}),
        ),
    ),
    "a guard on the way": (
        applied(
            two(
                faults=faults(None, FaultKind.RESET_BEFORE),
                options=replace(FREE, limits=replace(FREE.limits, max_requests=2)),
            )
        ),
        Told(
            {"applied": 1, "not_sent": 1},
            f"guard max_requests refuses location {HERE}: it would take 3 requests (limit: 2)",
            "what is left is in the next plan",
            whys=frozenset({STOPPED}),
            waits=(settling(1),),
        ),
    ),
    "two guards on the way": (
        guarded_twice,
        Told(
            {"applied": 2, "not_sent": 2},
            f"guard max_removes refuses location {HERE}: it would remove 2 tags (limit: 1); most of 'old' (2); "
            f"guard max_requests refuses location {HERE}: it would take 2 requests (limit: 1)",
            "what is left is in the next plan",
            whys=frozenset({STOPPED}),
        ),
    ),
    "a tag that is kept otherwise": (
        spelt_otherwise,
        Told({"applied": 1}, notes=("the location keeps the tag 'two  spaces' as 'two spaces': one tag from here on",)),
    ),
    "a look that is not saved": (
        look_that_is_not_saved,
        Told(
            {"applied": 1, "in_doubt": 1},
            "the disk is full",
            "make room",
            whys=frozenset({"it was refused, and nobody looked whether it took effect: the disk is full"}),
        ),
    ),
    "answers that are not taken": (
        answers_that_are_not_taken,
        Told(
            {"in_doubt": 1, "not_sent": 1},
            "the disk is full; 1 answer could be written nowhere: its contacts are in doubt until they are read",
            "make room",
            whys=frozenset({"its answer could not be recorded: the disk is full", STOPPED}),
        ),
    ),
    "a plan that is used up": (
        used_up,
        Told({"not_sent": 2}, "the plan is used up: run R carried it out", "run plan again", whys=frozenset({STOPPED})),
    ),
    "a plan of another lineage": (
        of_another_lineage,
        Told(
            {"not_sent": 2},
            "the plan is of lineage another, the state of lineage L",
            "run plan again",
            whys=frozenset({STOPPED}),
        ),
    ),
    "a plan of a state that was migrated": (
        migrated_since,
        Told(
            {"not_sent": 2},
            f"the state of location {HERE} was migrated to sqlite:///new.db since the plan was made: nothing was sent",
            "name that state (--state, RECONCILER_STATE or `state` in reconciler.yaml), and plan again",
            whys=frozenset({STOPPED}),
        ),
    ),
    "a plan whose run has no rows": (
        of_a_run_without_rows,
        Told(
            {"not_sent": 2},
            "what run R sent of the plan is no longer known: its rows were given up",
            "run plan again; the setting history_keep says how many runs keep their rows",
            whys=frozenset({STOPPED}),
            waits=(settling(1),),
        ),
    ),
    "a plan before a pull": (
        pulled_since,
        Told(
            {"not_sent": 2},
            f"the plan is stale: contact set 'vip' of location {HERE} was pulled since",
            "plan again",
            whys=frozenset({STOPPED}),
        ),
    ),
    "a plan that expired": (
        expired,
        Told(
            {"not_sent": 1},
            "the plan is stale: a set has become active or expired since",
            "plan again",
            whys=frozenset({STOPPED}),
        ),
    ),
    "readings that find nobody": (
        unreadable(gone=True, faults=faults(FaultKind.RESET_BEFORE)),
        Told(
            {"in_doubt": 14},
            notes=(
                "what is in doubt stays held: 10 contacts in a row are said not to be there, which is not believed: "
                "the token, the location or the API is probably wrong; `reconciler state forget` gives up contacts "
                "that are really gone",
            ),
            whys=frozenset({RESET}),
            waits=(settling(14),),
        ),
    ),
    "readings that find others' contacts": (
        unreadable(location=THERE, faults=faults(FaultKind.RESET_BEFORE)),
        Told(
            {"in_doubt": 14},
            notes=(
                f"what is in doubt stays held: the token may not read contacts of location {HERE} (every contact is "
                "said to be another location's)",
            ),
            whys=frozenset({RESET}),
            waits=(settling(14),),
        ),
    ),
    "readings that fail": (
        unreadable(
            faults=FaultPlan(
                {0: Fault(FaultKind.RESET_AFTER), **dict.fromkeys(range(1, 200), Fault(FaultKind.ERROR_BEFORE, 503))}
            )
        ),
        Told(
            {"in_doubt": 14},
            notes=(
                f"what could not be read stays in doubt: {SAYS} 503: {FAULT}",
                f"what is in doubt stays held: contacts cannot be read ({SAYS} 503: {FAULT})",
            ),
            whys=frozenset({RESET}),
            waits=(settling(14), f"{SAYS} 503: {FAULT}"),
        ),
    ),
    "a pace": (
        slowly(),
        Told({"applied": 5, "not_sent": 7}, notes=(f"7 wait {NEXT}",), whys=frozenset({f"waits {NEXT}"})),
    ),
    "a pace beyond the end of a set": (
        slowly(until=START + 1_800_000, wait=True),
        Told(
            {"applied": 5, "not_sent": 7},
            notes=(
                f"7 wait {NEXT}",
                "not waited for: a set becomes active or expires before that, and the plan ends with it",
            ),
            whys=frozenset({f"waits {NEXT}"}),
        ),
    ),
    "a pace that is waited for": (
        slowly(wait=True),
        Told({"applied": 12}, waits=(f"7 wait {NEXT}", f"2 wait {NEXT.replace('12:07', '13:07')}")),
    ),
    "a pace of a canary": (
        slowly(canary=Canary(8)),
        Told(
            {"applied": 5, "not_sent": 7},
            notes=(f"3 wait {NEXT}", "the other contacts wait until all of the first ones were sent"),
            whys=frozenset({f"waits {NEXT}", "left to the next plan"}),
        ),
    ),
    "a signal before a look": (
        applied(
            ten(faults=refusing(REFUSED, status=400)),
            lambda scene: setattr(scene.here, "after", lambda nth: scene.stop.ask(signal.SIGTERM)),
        ),
        Told(
            {"in_doubt": 10},
            "stopped by SIGTERM; 0 not sent, 10 in doubt",
            notes=(f"{EFFECT}: {BAD}; the run was stopped before its contacts were read",),
            whys=frozenset({f"{BAD}; the run was stopped before its contacts were read"}),
        ),
    ),
}


@pytest.mark.one_in(48)
@pytest.mark.parametrize("about", RUNS)
def test_a_run_tells_what_came_of_it_and_what_helps(tmp_path: Path, about: str) -> None:
    play, told = RUNS[about]
    assert told_by(*play(tmp_path)) == told

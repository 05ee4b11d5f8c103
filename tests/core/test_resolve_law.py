"""resolve is fast by sharing: its law is the plain resolution of one contact at a time, and the digest over these."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import fields, replace
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.manifests.resolve import Desired, resolve
from reconciler.core.manifests.set_members import members_of
from reconciler.core.manifests.wants import NOTHING, Want, is_active
from reconciler.core.model.batch import Cause, Reason
from reconciler.core.model.manifest import Authority, ContactSet, OnLeave, TagRule, TagUse
from reconciler.core.model.names import ContactId, Source, Tag
from tests.build import DAY, HERE, NOW, a_manifest, a_rule, a_set, ids, rules, tags, union

PEOPLE = (*ids("anna bert cara dora emil"), ContactId("é6"), ContactId('a"b'))
TAGS = sorted(tags("u v w x y z"))
STRENGTH = {Authority.ADDITIVE: 0, Authority.OWNED: 1, Authority.EXACT: 2}


def sources(uses: Iterable[TagUse]) -> dict[Tag, tuple[Source, ...]]:
    places = defaultdict(set)
    for use in uses:
        places[use.tag].add(use.source)
    return {tag: tuple(sorted(places[tag])) for tag in sorted(places)}


def plain_want(sets: list[ContactSet], by_tag: dict[Tag, TagRule]) -> Want:
    """The wish of a contact of these sets, word by word as the rules of `resolve` have it."""
    active = [each for each in sets if is_active(each, NOW)]
    present = sources(use for each in active for use in each.tags)
    absent: dict[Tag, Cause] = {}
    for tag, places in present.items():
        group = by_tag[tag].group if tag in by_tag else ""
        absent |= {
            near: Cause(Reason.GROUP, places)
            for near, rule in by_tag.items()
            if group and rule.group == group and near not in present
        }
    for tag, places in present.items():
        old = by_tag[tag].renamed_from if tag in by_tag else None
        if old is not None and old not in present:
            absent[old] = Cause(Reason.RENAMED, places)
    absent |= {
        tag: Cause(Reason.ABSENT, places)
        for tag, places in sources(use for each in active for use in each.absent).items()
    }
    expired = sources(use for each in sets if not is_active(each, NOW) for use in each.tags)
    strongest = max(
        (each.authority or Authority.ADDITIVE for each in active),
        key=STRENGTH.__getitem__,
        default=Authority.ADDITIVE,
    )
    deciding = [each.source for each in active if strongest is not Authority.ADDITIVE and each.authority is strongest]
    firm = {use.tag for each in active if each.on_leave is OnLeave.REMOVE for use in each.tags}
    return Want(
        present=present,
        absent=absent,
        expired={tag: places for tag, places in expired.items() if tag not in present},
        keep=frozenset(present) - firm,
        authority=strongest,
        ignore=tuple(sorted({pattern for each in active for pattern in each.ignore})),
        deciding=tuple(sorted(set(deciding))),
    )


def plain_text(want: Want) -> str:
    values = {entry.name: getattr(want, entry.name) for entry in fields(want) if entry.name != "deciding"}
    reasons = {tag: cause.reason for tag, cause in want.absent.items()}
    values |= {"present": sorted(want.present), "absent": reasons, "expired": sorted(want.expired)}
    return json.dumps([*(values | {"keep": sorted(want.keep)}).values()], sort_keys=True)


def plain_digest(desired: Desired) -> str:
    members = defaultdict(list)
    for contact, index in desired.contacts.items():
        members[plain_text(desired.wants[index])].append(contact)
    members.pop(plain_text(NOTHING), None)
    unplanned = ("source", "description", "pace", "window")
    described = [
        [getattr(desired.rules[tag], entry.name) for entry in fields(TagRule) if entry.name not in unplanned]
        # none of its own where there is none: a rule of before is described as it was
        + [str(slow) for slow in (desired.rules[tag].pace, desired.rules[tag].window) if slow]
        for tag in sorted(desired.rules)
    ]
    digest = hashlib.sha256(json.dumps([HERE, described]).encode())
    for text in sorted(members):
        digest.update(json.dumps([text, sorted(members[text])]).encode())
    return "sha256:" + digest.hexdigest()


def some_of(names: Iterable[str]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(list(names)), unique=True).map(" ".join)


@st.composite
def contact_sets(draw: st.DrawFn) -> list[ContactSet]:
    made: list[ContactSet] = []
    for number in range(draw(st.integers(1, 5))):
        combined = bool(made) and draw(st.booleans())
        members = union(draw(st.sampled_from([each.name for each in made]))) if combined else draw(some_of(PEOPLE))
        made.append(
            a_set(
                f"s{number}",
                members,
                draw(some_of(TAGS)),
                absent=draw(some_of(TAGS)),
                ignore=draw(st.sampled_from(["", "x*", "y* x*"])),
                place=Source("a.yaml", draw(st.integers(1, 3))),
                authority=draw(st.sampled_from([None, *Authority])),
                on_leave=draw(st.sampled_from(OnLeave)),
                until=draw(st.sampled_from([None, NOW - DAY, NOW + DAY])),
            )
        )
    return made


PROPERTIES: tuple[dict[str, Any], ...] = ({}, {"group": "g"}, {"renamed_from": Tag("old")}, {"once": True})
RULES = st.tuples(
    *(st.sampled_from(PROPERTIES).map(partial(lambda tag, given: a_rule(tag, **given), tag)) for tag in TAGS)
)


@given(contact_sets(), RULES)
def test_it_resolves_as_one_contact_at_a_time(sets: list[ContactSet], written: tuple[TagRule, ...]) -> None:
    by_tag = rules(*written)
    desired = resolve([replace(a_manifest(*sets), rules=by_tag)], now=NOW)
    members = members_of(sets)
    for contact in PEOPLE:
        of = [each for each in sets if contact in members[each.name]]
        want = desired.want(contact)
        assert want == plain_want(of, by_tag)
        assert list(want.present) == sorted(want.present)
        assert desired.membership(contact) == {each.name for each in of}
    assert desired.digest == plain_digest(desired)
    assert set(desired.contacts) == {contact for each in members.values() for contact in each}

"""Checks of tags: their rules, and how they are written, which HighLevel may store differently or a reader not see."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

from reconciler.core.manifests import CheckFinding, Location, Manifests
from reconciler.core.model.manifest import ContactSet, ListedContacts, TagRule, TagUse
from reconciler.core.model.names import Source, Tag, iso
from reconciler.core.model.release_rules import Forecast, ReleaseRule


def equal_rules(manifests: Manifests) -> Iterator[CheckFinding]:
    """A tag's rules in several files of a location must say the same."""
    for location in manifests.locations:
        for rule in location.own_rules():
            twin = location.rules[rule.tag]
            if not _same_rule(rule, twin):
                message = f"the rule for tag {rule.tag!r} differs from the one at {twin.source}"
                yield CheckFinding(rule.source, message, "a rule is given once, or the same everywhere")


def replaced_rules(manifests: Manifests) -> Iterator[CheckFinding]:
    """A manifest's rule that stands in place of a different one of the settings, as a whole."""
    for location in manifests.locations:
        for rule in location.own_rules():
            shared = manifests.shared.get(rule.tag)
            if shared is not None and not _same_rule(rule, shared):
                yield CheckFinding(
                    rule.source, f"this rule for tag {rule.tag!r} replaces the shared one at {shared.source}"
                )


def _same_rule(first: TagRule, second: TagRule) -> bool:
    return replace(first, source=second.source) == second


def contradictory_rules(manifests: Manifests) -> Iterator[CheckFinding]:
    """Properties of one rule that cannot both be meant."""
    for rule in _all_rules(manifests):
        if rule.inert and (rule.triggers or rule.once):
            other = "triggers" if rule.triggers else "once"
            yield CheckFinding(
                rule.source, f"tag {rule.tag!r} cannot be both inert and {other}: inert tags start nothing"
            )
        if rule.inert and rule.release is not None:
            message = f"tag {rule.tag!r} cannot be both inert and given slowly: inert tags start nothing to spread out"
            yield CheckFinding(rule.source, message, "leave out inert, or pace and window")
        if rule.renamed_from == rule.tag:
            yield CheckFinding(rule.source, f"tag {rule.tag!r} is renamed from itself")
        if rule.protected and rule.exclusive:
            message = f"tag {rule.tag!r} cannot be both protected and exclusive: one never removes it, the other does"
            yield CheckFinding(rule.source, message)
    yield from _unremovable_tags(manifests)


def too_slow(manifests: Manifests) -> Iterator[CheckFinding]:
    """Sets that end before their contacts could be given a tag, at the pace and the hours of its rule."""
    for location in manifests.locations:
        for contact_set in location.sets.values() if location.resolvable else ():
            start, until = contact_set.start, contact_set.until
            # reversed times have a check of their own
            if start is None or until is None or start >= until:
                continue
            size = _count_members(location, contact_set)
            for use in contact_set.tags:
                rule = location.rules.get(use.tag)
                if size and rule is not None and rule.release is not None:
                    forecast = rule.release.forecast(size, (), start)
                    if forecast.last is None or forecast.last >= until:
                        yield _explain_too_slow(use, rule.release, forecast, contact_set, size)


def _count_members(location: Location, contact_set: ContactSet) -> int:
    if isinstance(contact_set.contacts, ListedContacts):
        return len(contact_set.contacts.ids)
    return len(location.members(contact_set.name))


def _explain_too_slow(
    use: TagUse, release: ReleaseRule, forecast: Forecast, contact_set: ContactSet, size: int
) -> CheckFinding:
    ends = "far beyond that" if forecast.last is None else f"at {iso(forecast.last)}"
    assert contact_set.start is not None
    assert contact_set.until is not None
    message = (
        f"tag {use.tag!r} is given too slowly ({release}): the {size:,} contacts of set {contact_set.name!r} would be "
        f"served from {iso(contact_set.start)} on, the last of them {ends}, and the set ends at "
        f"{iso(contact_set.until)}"
    )
    return CheckFinding(use.source, message, "raise the pace, widen the window, or let the set live longer")


def _unremovable_tags(manifests: Manifests) -> Iterator[CheckFinding]:
    """A tag that a set wants absent, and that nothing may remove."""
    for location in manifests.locations:
        rules = dict(manifests.shared) | location.rules
        for contact_set in location.all_sets():
            for use in contact_set.absent:
                rule = rules.get(use.tag)
                if rule is not None and rule.protected:
                    yield CheckFinding(use.source, f"tag {use.tag!r} is absent here, but protected at {rule.source}")
                if any(fnmatchcase(use.tag, pattern) for pattern in contact_set.ignore):
                    yield CheckFinding(use.source, f"tag {use.tag!r} is absent here, but ignored by the same set")


def _all_rules(manifests: Manifests) -> Iterator[TagRule]:
    for location in manifests.locations:
        yield from location.own_rules()
    yield from manifests.shared.values()


def renamed_tags(manifests: Manifests) -> Iterator[CheckFinding]:
    """A tag that was renamed must not be declared under its old name too."""
    for location in manifests.locations:
        declared = {use.tag: use for contact_set in location.all_sets() for use in contact_set.tags}
        for rule in location.rules.values():
            # a rule that is renamed from itself contradicts itself, which is reported there
            if rule.renamed_from in declared and rule.renamed_from != rule.tag and rule.tag in declared:
                old: TagUse = declared[rule.renamed_from]
                message = f"tag {old.tag!r} is declared here, but renamed to {rule.tag!r} at {rule.source}"
                yield CheckFinding(old.source, message, "declare the new name only")


def unused_rules(manifests: Manifests) -> Iterator[CheckFinding]:
    """Rules for tags that no set names; finds none where a file could not be read."""
    if not manifests.complete or any(not location.complete for location in manifests.locations):
        return
    used_shared: set[Tag] = set()
    for location in manifests.locations:
        used = _used_tags(location)
        used_shared |= used
        for rule in location.own_rules():
            if rule.tag not in used:
                yield CheckFinding(
                    rule.source, f"the rule for tag {rule.tag!r} is not used: no contact set names the tag"
                )
    # a rule for all locations may be one of those that were left out
    for rule in manifests.shared.values() if not manifests.elsewhere else ():
        if rule.tag not in used_shared and manifests.locations:
            yield CheckFinding(rule.source, f"the rule for tag {rule.tag!r} is not used: no contact set names the tag")


def _used_tags(location: Location) -> set[Tag]:
    """Tags that a rule has an effect on: named ones, others of their groups, those kept or cleared anyway."""
    named = {use.tag for use in location.tag_uses()}
    groups = {location.rules[tag].group for tag in named if tag in location.rules} - {""}
    alone = {tag for tag, rule in location.rules.items() if rule.protected or rule.exclusive or rule.group in groups}
    return named | alone


MAX_TAG = 75
"""The longest filter value that HighLevel's search takes: a longer tag cannot be searched for."""

_QUOTES = tuple("“”„‟«»")
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Persian, Hindi and emoji are spelt with these: they are no slip
_JOINERS = frozenset("\u200c\u200d")
_LOOKALIKE_SCRIPTS = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"})

# Letters of other scripts that are drawn like Latin ones (from Unicode's confusables, lower case).
_SKELETON = str.maketrans(
    "аеорсухіјѕһԁԛԝӏкмтвнɡαορνκτυιϲϳ։ո",
    "aeopcyxijshdqwlkmtbhgaopvktuicj:n",
)


def control_characters(manifests: Manifests) -> Iterator[CheckFinding]:
    """Characters that no tag can hold."""
    return _find_characters(manifests, _is_control, "a control character")


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")


def can_be_declared(tag: Tag) -> bool:
    """Whether a manifest may name the tag."""
    return bool(tag.strip()) and not any(_is_control(char) or char in _BIDI for char in tag)


def bidi_characters(manifests: Manifests) -> Iterator[CheckFinding]:
    """Characters that make a tag read differently from its spelling."""
    return _find_characters(manifests, _BIDI.__contains__, "a character that changes the direction of reading")


def invisible_characters(manifests: Manifests) -> Iterator[CheckFinding]:
    """Characters that no reader sees."""
    return _find_characters(manifests, _is_invisible, "an invisible character")


def _is_invisible(char: str) -> bool:
    # a no-break space looks like a blank, and makes another tag; an ideographic one is how its scripts write a blank
    is_odd_blank = unicodedata.category(char) == "Zs" and char not in " \u3000"
    return is_odd_blank or (unicodedata.category(char) == "Cf" and char not in _BIDI and char not in _JOINERS)


def _find_characters(manifests: Manifests, is_bad: Callable[[str], bool], kind: str) -> Iterator[CheckFinding]:
    for source, written in written_tags(manifests):
        # nearly every tag: none of its characters needs a look
        if written.isascii() and written.isprintable():
            continue
        bad = next((char for char in written if is_bad(char)), None)
        if bad is not None:
            # escaped: the character would else be unseen here too, or turn the message round
            yield CheckFinding(source, f"tag {written!a} has {kind}, U+{ord(bad):04X}")


def parted_tags(manifests: Manifests) -> Iterator[CheckFinding]:
    """Tags that are several, or quoted by marks that YAML does not know."""
    for source, written in written_tags(manifests):
        if ";" in written:
            yield CheckFinding(
                source, f"tag {written!r} has a semicolon", "are these several tags? List them one by one"
            )
        elif written[:1] in _QUOTES or written[-1:] in _QUOTES:
            yield CheckFinding(
                source, f"tag {written!r} has typographic quotes, which belong to it", "write it in plain quotes: '…'"
            )


def tags_with_commas(manifests: Manifests) -> Iterator[CheckFinding]:
    for source, written in written_tags(manifests):
        if "," in written:
            hint = "HighLevel's imports split tags on commas: list them one by one"
            yield CheckFinding(source, f"tag {written!r} has a comma", hint)


def tags_with_blanks(manifests: Manifests) -> Iterator[CheckFinding]:
    for source, written in written_tags(manifests):
        if written != written.strip():
            yield CheckFinding(source, f"tag {written!r} begins or ends with a blank: {written.strip()!r} is meant")


def long_tags(manifests: Manifests) -> Iterator[CheckFinding]:
    for source, written in written_tags(manifests):
        if len(written.strip()) > MAX_TAG:
            message = f"a tag of {len(written.strip())} characters, HighLevel can search for at most {MAX_TAG}"
            yield CheckFinding(source, f"{message}: {written.strip()[:40]!r}…")


def tags_with_comments(manifests: Manifests) -> Iterator[CheckFinding]:
    for location in manifests.locations:
        for use in location.tag_uses():
            if use.commented:
                hint = f"if the # belongs to the tag, quote it; if it is a comment, quote the tag: '{use.written}'"
                yield CheckFinding(use.source, f"tag {use.written!r} is followed by a comment", hint)


def mixed_scripts(manifests: Manifests) -> Iterator[CheckFinding]:
    """Letters of look-alike scripts in one tag."""
    for source, written in written_tags(manifests):
        scripts = _lookalike_scripts(written)
        if len(scripts) > 1:
            names = " and ".join(sorted(name.capitalize() for name in scripts))
            yield CheckFinding(source, f"tag {written!r} mixes {names} letters that look alike")


def _lookalike_scripts(text: str) -> set[str]:
    if text.isascii():
        return set()
    scripts = {unicodedata.name(char, "").split(" ")[0] for char in text if char.isalpha()}
    return scripts & _LOOKALIKE_SCRIPTS


def lookalike_tags(manifests: Manifests) -> Iterator[CheckFinding]:
    """Two tags of one location that look the same and are not."""
    for location in manifests.locations:
        first: dict[str, TagUse] = {}
        for use in _first_uses(location.tag_uses()):
            twin = first.setdefault(_make_skeleton(use.tag), use)
            if twin.tag != use.tag:
                yield CheckFinding(
                    use.source,
                    f"tag {use.tag!r} looks like tag {twin.tag!r} at {twin.source}, and is another one",
                )


def _make_skeleton(tag: Tag) -> str:
    return unicodedata.normalize("NFKC", tag).casefold().translate(_SKELETON)


def spelling_variants(manifests: Manifests) -> Iterator[CheckFinding]:
    """One tag in two spellings, once a tag and location."""
    for location in manifests.locations:
        first: dict[Tag, TagUse] = {}
        reported: set[Tag] = set()
        for use in sorted(location.tag_uses(), key=lambda use: use.source):
            earlier = first.setdefault(use.tag, use)
            if use.written.strip() != earlier.written.strip() and use.tag not in reported:
                reported.add(use.tag)
                message = f"tag {use.written.strip()!r} is written {earlier.written.strip()!r} at {earlier.source}"
                yield CheckFinding(use.source, f"{message}: HighLevel lower-cases tags, both are {use.tag!r}")


def repeated_tags(manifests: Manifests) -> Iterator[CheckFinding]:
    """A tag twice in one list."""
    for location in manifests.locations:
        for contact_set in location.all_sets():
            for uses in (contact_set.tags, contact_set.absent):
                first: dict[Tag, TagUse] = {}
                for use in uses:
                    earlier = first.setdefault(use.tag, use)
                    if earlier is not use:
                        yield CheckFinding(use.source, f"tag {use.tag!r} is already listed at {earlier.source}")


def written_tags(manifests: Manifests) -> Iterator[tuple[Source, str]]:
    """Every tag where a person wrote it: in sets, and as the name of a rule."""
    for location in manifests.locations:
        for use in location.tag_uses():
            yield use.source, use.written
        for rule in location.own_rules():
            yield rule.source, rule.tag
    for rule in manifests.shared.values():
        yield rule.source, rule.tag


def _first_uses(uses: Iterable[TagUse]) -> list[TagUse]:
    first: dict[Tag, TagUse] = {}
    for use in sorted(uses, key=lambda use: use.source):
        first.setdefault(use.tag, use)
    return list(first.values())

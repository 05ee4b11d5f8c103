"""Invariant 2, as far as it hangs on what earlier runs took under management: what stays where it is."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.model.manifest import Authority
from reconciler.core.model.outcome import Action
from tests.simulation.declared import OLD
from tests.simulation.evidence import GOOD
from tests.simulation.facts import Facts


def adoptions(known: list[Facts]) -> Iterator[str]:
    """2: what nobody but runs that were undone took under management, and no run of ours ever sent, is left alone."""
    undone = {facts.run.undoes.name for facts in known if facts.run.undoes and facts.report and not facts.report.error}
    sent = {
        (who, tag) for facts in known for write in facts.writes for action, who, tag in write.pairs if action is ADD
    }
    for nth, facts in enumerate(known):
        before = [each for each in known[:nth] if each.name not in undone]
        for who, tag in sorted(_removed(facts, Authority.ADDITIVE) - sent):
            if not any(tag in each.past[-1].present(who) for each in before):
                yield f"2: {facts.name} removes {tag} from {who}, which only a run that was undone took for ours"


def kept(known: list[Facts]) -> Iterator[str]:
    """2: what is kept on leaving stays on its contact, also where a set comes to own the contact's tags."""
    for facts in known:
        for who, tag in sorted(_removed(facts, Authority.OWNED)):
            before = [each for each in known if each.run.ended <= facts.run.began]
            since = [each for each in before if tag in each.past[-1].present(who)][-1:]
            if any(_is_to_keep(each, who, tag, facts, before) for each in since):
                yield f"2: {facts.name} removes {tag} from {who}, where {since[0].name} was told to keep it"


def _is_to_keep(last: Facts, who: str, tag: str, now: Facts, before: list[Facts]) -> bool:
    """Whether the last run of those that were to add the tag knows that it did, and that it stays; and whether only
    such runs followed as leave that so.
    """
    told = {pair for write in last.writes for pair, said in write.told() if said in GOOD}
    done = last.report is not None and not last.report.error and not last.run.options.selection.tags
    follow = now.past[len(last.past) :]
    undone = any(each.run.undoes for each in before if each.run.began >= last.run.began)
    # a tag that gets another name is to go, wherever its contact's tags are owned
    renamed = tag == OLD and any(each.rules.renamed for each in follow)
    owned = all(each.authority(who) is Authority.OWNED and tag not in each.absent(who) for each in follow)
    return done and not undone and not renamed and owned and tag in last.past[-1].kept(who) and (ADD, who, tag) in told


ADD = Action.ADD


def _removed(facts: Facts, authority: Authority) -> set[tuple[str, str]]:
    """What the run removes that is not declared absent, from contacts under this authority."""
    declared = facts.past[-1]
    pairs = {pair for write in facts.writes for pair in write.pairs if pair[0] is Action.REMOVE}
    pairs = set() if facts.run.undoes else pairs
    return {
        (who, tag) for _, who, tag in pairs if tag not in declared.absent(who) and declared.authority(who) is authority
    }

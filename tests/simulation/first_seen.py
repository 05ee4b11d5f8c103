"""The world in which each planted bug was first seen: it is played first, and the others, in their order, where it no
longer shows the bug.
"""

from __future__ import annotations

FIRST_SEEN = {
    "take the first of two rows of one contact": 60,
    "take any error for a rejection": 14,
    "take a row without tags for a contact without tags": 2,
    "take 5xx for known not to have had an effect": 1,
    "send again after a time-out": 2,
    "follow redirects": 3,
    "say the token in an error": 1,
    "take no account of a group's other tags": 11,
    "remove what is kept on leaving": 2,
    "remove what is protected or ignored": 1,
    "prune nothing": 1,
    "add a tag that is once again and again": 2,
    "send in later rounds whatever turns out to be needed": 6,
    "add again on any reading": 1,
    "read what is in doubt before it can have settled": 1,
    "remove although an add did not end well": 1,
    "send what is in doubt in another batch of the plan": 1,
    "count what was there already as changed": 2,
    "take a lease that somebody holds": 1,
    "take what was asked for once for added": 23,
    "forget what was given once with its pair": 91,
    "add once more what may have been consumed": 71,
    "retry with a plan that is resumed what it retried before": 91,
}

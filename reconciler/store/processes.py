"""What tells a process from every other one that ever had its number.

Rules
1. A number says nothing outside the PID namespace that gave it, on the host and since the boot that made the namespace,
   and is given again: only together with the time of its start does it name one process.
2. A process is gone only where all of that is known, of it and of us, and is ours. What a platform does not tell stays
   empty, and nothing follows from it: the lease ends by its time.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.model.lease import Holder

PROC = Path("/proc")
START_TIME = 19
"""Where a process's `stat` has the time of its start, counted from behind the name of its program."""


@dataclass(frozen=True, slots=True)
class ProcessOrigin:
    """The boot, the PID and time namespaces and the start of a process; all empty where one of them is unknown."""

    boot_id: str = ""
    pid_namespace: str = ""
    process_start: str = ""


def origin_of_this_process() -> ProcessOrigin:
    """Ours, as Linux tells it; unknown elsewhere, and where /proc shows the processes of another PID namespace."""
    try:
        if not _proc_is_of_our_namespace():
            return ProcessOrigin()
        return ProcessOrigin(
            boot_id=(PROC / "sys/kernel/random/boot_id").read_text("ascii").strip(),
            pid_namespace=_namespaces(),
            process_start=_start_of(os.getpid()),
        )
    except (OSError, ValueError, IndexError):
        return ProcessOrigin()


def _proc_is_of_our_namespace() -> bool:
    """Whether /proc counts this process as the process counts itself: it has one number there, no second one within."""
    lines = (PROC / "self/status").read_text("utf-8", "replace").splitlines()
    numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
    return numbers == [str(os.getpid())]


def _namespaces() -> str:
    """The one that counts processes, and the one that counts time; Linux before 5.6 has but one time."""
    places = [PROC / "self/ns" / kind for kind in ("pid", "time")]
    return " ".join(str(place.readlink()) for place in places if place.is_symlink())


def _start_of(pid: int) -> str:
    # the name of the program is in parentheses and may hold anything
    fields = (PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return fields[START_TIME]


def is_gone(holder: Holder) -> bool:
    """Whether the holder is a process of this host, boot and PID namespace that is no more."""
    ours = origin_of_this_process()
    if not ours.boot_id or not holder.process_start or holder.host != socket.gethostname():
        return False
    if (holder.boot_id, holder.pid_namespace) != (ours.boot_id, ours.pid_namespace):
        return False
    try:
        # /proc may hide the processes of others; a signal tells of all
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return _has_another_start(holder)


def _has_another_start(holder: Holder) -> bool:
    try:
        return _start_of(holder.pid) != holder.process_start
    except (OSError, IndexError):
        return False

"""Plays worlds of sets by filter until one breaks a rule: `python -m tests.simulation.release.hunt_filters FIRST AFTER
[SOONER]`.
"""

from __future__ import annotations

import sys

from tests.simulation.hunt import hunt
from tests.simulation.release.playing import play_filtered

if __name__ == "__main__":
    sys.exit(hunt(play_filtered))

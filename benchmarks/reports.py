"""How long a report of many rows takes in each format, and how large it is.

    python benchmarks/reports.py [--contacts N] [--chromium]

A plan that gives N/2 contacts two tags each: N rows. Processor seconds from the plan to the last byte, everything
shown (--all). `--chromium` also opens the page in a real browser: seconds until it is loaded, sorted and filtered.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState, PlanOptions, combine_plans
from reconciler.cover import solve
from reconciler.output.document import FORMATS, CommandOutput, spell
from reconciler.output.plan import PlanDocument
from tests.browser.chromium import chromium, find_chromium
from tests.build import HERE, NOW, a_set, declare, many


def in_browser(page: str) -> str:
    path = find_chromium()
    if path is None:
        return "no Chromium"
    with tempfile.TemporaryDirectory() as folder, chromium(path) as browser:
        file = Path(folder) / "report.html"
        file.write_text(page, encoding="utf-8")
        browser.size(1280, 900)
        told = []
        for what, act in (
            ("open", lambda: (browser.open(file), browser.picture())),
            ("sort", lambda: (browser.click(".records th:nth-child(2) button"), browser.picture())),
            ("filter", lambda: (browser.click(".filter input"), browser.typed("newsletter"), browser.picture())),
        ):
            began = time.perf_counter()
            act()
            told.append(f"{what} {time.perf_counter() - began:.2f} s")
        return ", ".join(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contacts", type=int, default=100_000, metavar="N", help="rows of the report")
    parser.add_argument("--chromium", action="store_true", help="open the page, too")
    arguments = parser.parse_args()
    desired = declare(a_set("s", many(arguments.contacts // 2), "customer newsletter"))
    plan = combine_plans(
        [plan_location(desired, LocationState(HERE), PlanOptions(solve))], as_of=NOW, manifests="manifests"
    )
    page = ""
    for kind in FORMATS:
        began = time.process_time()
        page = "".join(spell(CommandOutput(PlanDocument(plan)), kind, whole=True))
        print(f"{kind:9} {time.process_time() - began:6.2f} s {len(page.encode()) / 1e6:8.3f} MB")
    if arguments.chromium:
        print(in_browser(page))


if __name__ == "__main__":
    main()

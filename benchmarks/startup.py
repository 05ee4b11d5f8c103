"""How long `--help` and the imports of `plan` take, beside `python -c "import click"`, and the demo: whole processes.

    python benchmarks/startup.py [--check] [--runs N] [--demo]

Medians over interleaved runs, since machines are noisy. `--check` fails where a ratio is over its limit.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

LIMIT, PLAN_LIMIT = 1.5, 14.0
CLICK = [sys.executable, "-c", "import click"]
HELP = [sys.executable, "-m", "reconciler", "--help"]
PLAN = [sys.executable, "-c", "import reconciler.cli.plan"]
DEMO = [sys.executable, "-m", "reconciler", "demo"]


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help=f"exit 1 where --help takes over {LIMIT} x import click")
    parser.add_argument("--runs", type=int, default=21, help="runs of each command")
    parser.add_argument("--demo", action="store_true", help="time the demo too")
    arguments = parser.parse_args()
    seconds(CLICK), seconds(HELP), seconds(PLAN)
    runs = [(seconds(CLICK), seconds(HELP), seconds(PLAN)) for _ in range(arguments.runs)]
    ratio = statistics.median(ours / bare for bare, ours, _ in runs)
    plan_ratio = statistics.median(ours / bare for bare, _, ours in runs)
    print(f"import click      {1000 * statistics.median(bare for bare, _, _ in runs):6.0f} ms")
    print(f"reconciler --help {1000 * statistics.median(ours for _, ours, _ in runs):6.0f} ms   x {ratio:.2f}")
    print(f"imports of plan   {1000 * statistics.median(ours for _, _, ours in runs):6.0f} ms   x {plan_ratio:.2f}")
    if arguments.demo:
        print(f"reconciler demo   {statistics.median(seconds(DEMO) for _ in range(5)):6.1f} s")
    if arguments.check and ratio > LIMIT:
        sys.exit(f"--help takes {ratio:.2f} times as long as `import click`; the limit is {LIMIT}")
    if arguments.check and plan_ratio > PLAN_LIMIT:
        sys.exit(
            f"the imports of plan take {plan_ratio:.2f} times as long as `import click`; the limit is {PLAN_LIMIT}"
        )


if __name__ == "__main__":
    main()

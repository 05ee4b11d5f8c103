"""python main.py plan|apply|drift, in a step of a composite action."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from reconciler_action.runner import Runner

sys.exit(import_module(f"reconciler_action.{sys.argv[1]}").main(Runner(os.environ)))

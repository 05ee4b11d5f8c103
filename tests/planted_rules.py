"""Bugs to plant against the invariants that worlds do not judge; `caught`: the test that fails."""

from __future__ import annotations

from tests.simulation.bugs import Bug

RULES = (
    Bug(
        "write an intent down as one that was withdrawn",
        "store/sql_store.py",
        "now, None, BatchStatus.INTENDED)",
        "now, None, BatchStatus.WITHDRAWN)",
        "tests/apply/test_scenarios.py::test_a_crash_between_intent_and_answer",
    ),
    Bug(
        "let a request leave however late after its intent",
        "apply/send_batch.py",
        "journalled.dated <= run.options.latest_ms:",
        "journalled.dated <= 10**12:",
        "tests/apply/test_beside.py::test_an_intent_that_took_long_is_written_anew_before_its_request_leaves",
    ),
    Bug(
        "leave out of the time to settle that in which a request may leave",
        "operations/workspace.py",
        "return latest_ms_from(settings) + settings",
        "return 0 * latest_ms_from(settings) + settings",
        "tests/apply/test_beside.py::test_a_request_may_leave_no_later_than_it_takes_to_land",
    ),
    Bug(
        "name a file that is not on the disk",
        "system.py",
        "            calls.sync(descriptor)\n",
        "",
        "tests/crash/test_states.py::test_whatever_a_crash_leaves_can_be_read_and_what_was_acknowledged_is_there",
    ),
    Bug(
        "leave a name to the power cut",
        "system.py",
        " as temporary:\n        calls.replace(temporary, path)\n    calls.sync_folder(path.parent)\n",
        " as temporary:\n        calls.replace(temporary, path)\n",
        "tests/crash/test_states.py::test_whatever_a_crash_leaves_can_be_read_and_what_was_acknowledged_is_there",
    ),
    Bug(
        "show every character as it came",
        "core/model/safe_text.py",
        'if text.isprintable() and "\\\\" not in text and not bare:',
        "if True:",
        "tests/render/test_sinks.py::test_no_text_of_ours_changes_a_document",
    ),
    Bug(
        "take a damaged plan for a bug of ours",
        "planfile.py",
        '    except (ValueError, RecursionError) as error:\n        raise PlanFileError("it is damaged: not JSON"',
        '    except ZeroDivisionError as error:\n        raise PlanFileError("it is damaged: not JSON"',
        "tests/fuzz/test_fuzz.py::test_damaged_input_gives_no_other_exception[plan]",
    ),
    Bug(
        "forget what an earlier run gave",
        "core/planning/slow_release.py",
        "                    found[tag] += _count_batch(batch, tag, paced[tag].adds, settle_ms=settle_ms)\n",
        "                    found[tag] += ()\n",
        "tests/apply/test_slow_release.py::test_the_same_plan_sends_slice_after_slice",
    ),
)

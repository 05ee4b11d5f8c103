"""Bugs to plant, each a guard less: against files that lie, for holders that live. `caught`: the test that fails."""

from __future__ import annotations

from tests.simulation.bugs import Bug

_GIT, _FORKS, _UNTRUSTED = "tests/cli/test_git.py", "tests/ci/test_forks.py", "tests/ci/test_untrusted.py"
_PLAN, _LINKS, _TIME = "tests/cli/test_proposal.py", "tests/cli/test_links.py", "tests/cli/test_import_time.py"
_EVERY_CALL = f"{_GIT}::test_every_call_forbids_what_a_repository_can_ask_for"
_LEASE = "tests/store/test_contract.py::test_a_dead_process_of_the_same_number_tells_nothing_of_another_host"
_LEASE += "_boot_or_namespace[sqlite-{}]"

OF_GIT = (
    Bug(
        "start Git where the manifests are",
        "operations/git.py",
        'top = next((folder for folder in (start, *start.parents) if os.path.lexists(folder / ".git")), None)',
        "top = start if start.is_dir() else start.parent",
        f"{_FORKS}::test_what_is_compared_with_is_the_checkouts_own_commit",
    ),
    Bug(
        "take files for a repository of their own",
        "operations/git.py",
        '    "safe.bareRepository=explicit",\n',
        "",
        _EVERY_CALL,
    ),
    Bug(
        "allow the protocols that settings allow", "operations/git.py", '    "protocol.allow=never",\n', "", _EVERY_CALL
    ),
    Bug(
        "let a repository allow a protocol for itself",
        "operations/git.py",
        '    "GIT_ALLOW_PROTOCOL": "",\n',
        "",
        _EVERY_CALL,
    ),
    Bug("fetch what is missing", "operations/git.py", '    "GIT_NO_LAZY_FETCH": "1",\n', "", _EVERY_CALL),
    Bug("run hooks", "operations/git.py", '    f"core.hooksPath={os.devnull}",\n', "", _EVERY_CALL),
    Bug("run a monitor of the file system", "operations/git.py", '    "core.fsmonitor=",\n', "", _EVERY_CALL),
    Bug("show what is printed in a pager", "operations/git.py", '"--no-pager", ', "", _EVERY_CALL),
    Bug(
        "let variables choose the repository",
        "operations/git.py",
        'if not name.startswith("GIT_") or',
        'if name != "GIT_TRACE" or',
        _EVERY_CALL,
    ),
    Bug(
        "read what stands in for a commit",
        "operations/git.py",
        '    "GIT_NO_REPLACE_OBJECTS": "1",\n',
        "",
        f"{_GIT}::test_a_commit_is_what_it_was_whatever_stands_in_for_it",
    ),
    Bug(
        "follow a .git file into the checkout",
        "operations/git.py",
        'if directory != top / ".git" and directory.is_relative_to(top):',
        "if not directory.is_absolute():",
        f"{_GIT}::test_a_git_file_that_leads_to_files_of_its_checkout_is_refused",
    ),
    Bug(
        "call every clone shallow",
        "operations/git.py",
        "error.hint or (lacking if self.shallow else",
        "error.hint or (lacking if self.top else",
        f"{_GIT}::test_only_a_shallow_clone_is_called_one",
    ),
    Bug(
        "say nothing of dubious ownership",
        "operations/git.py",
        '    "dubious ownership": "if you trust',
        '    "dubious holders": "if you trust',
        f"{_GIT}::test_a_repository_of_somebody_else_is_told_as_that",
    ),
    Bug(
        "take a checkout's time for an export's",
        "operations/change_state.py",
        "        committed = find_commit_time(file)\n",
        "        committed = None if find_commit_time(file) else None\n",
        f"{_TIME}::test_what_git_tracks_is_of_its_commit",
    ),
    Bug(
        "take a shallow clone's only commit for a file's",
        "operations/git.py",
        "    if repository.shallow:\n",
        "    if repository.shallow and not commit:\n",
        f"{_TIME}::test_a_shallow_clone_does_not_tell_the_commit",
    ),
    Bug(
        "take a changed file to be of its commit",
        "operations/git.py",
        "if _compute_object_id(file, len(entry.id)) != entry.id:",
        "if not _compute_object_id(file, len(entry.id)):",
        f"{_TIME}::test_what_was_changed_since_its_commit_needs_a_time",
    ),
)

OF_SETTINGS = (
    Bug(
        "let the files of a pull request say whom plan asks",
        "cli/plan.py",
        "    refuse_unreviewed(session, reads=request.reading.method is not None)\n",
        "",
        f"{_UNTRUSTED}::test_token_command[plan --refresh get]",
    ),
    Bug(
        "let the files of a pull request say whom drift asks",
        "cli/plan.py",
        "    refuse_unreviewed(session, reads=flags.refresh is not None)\n",
        "",
        f"{_UNTRUSTED}::test_base_url[drift --refresh search]",
    ),
    Bug(
        "take any value at the target branch for the same",
        "operations/unreviewed.py",
        "is OriginKind.FILE and value == self.value",
        "is OriginKind.FILE and bool(value)",
        f"{_UNTRUSTED}::test_another_value_at_the_base_does_not_do",
    ),
    Bug(
        "ask a branch where the forge names a commit",
        "operations/unreviewed.py",
        'return _name_tracked(environment.get("GITHUB_BASE_REF", "")) if commit is None else commit',
        'return _name_tracked(environment.get("GITHUB_BASE_REF", "")) or commit or ""',
        f"{_UNTRUSTED}::test_branches_of_the_heads_repository_say_nothing",
    ),
    Bug(
        "ask a submodule what the target branch says",
        "operations/unreviewed.py",
        "if find_repository(directory).is_linked:",
        "if not find_repository(directory):",
        f"{_UNTRUSTED}::test_branches_of_a_submodule_say_nothing",
    ),
)

OF_FILES = (
    Bug(
        "let a plan file choose the settings",
        "operations/saved_plan.py",
        "        _refuse_other_directory(proposed)\n",
        "        workspace = replace(workspace, directory=Path(proposed.manifests))\n",
        f"{_PLAN}::test_a_file_chooses_no_settings",
    ),
    Bug(
        "send what only a plan file has",
        "core/planning/approved_scope.py",
        "    deltas, _ = keep_approved(fresh.deltas, derive_ceiling(proposed))\n",
        "    return proposed\n",
        f"{_PLAN}::test_strangers_are_not_tagged",
    ),
    Bug(
        "retry what a plan file retries",
        "operations/saved_plan.py",
        "            tags=tuple(proposed.selection.tags),\n",
        "            tags=tuple(proposed.selection.tags),\n            retry_held=proposed.selection.retry_held,\n",
        f"{_PLAN}::test_a_file_settles_no_doubt_and_retries_nothing",
    ),
    Bug(
        "believe what a plan file observed",
        "operations/saved_plan.py",
        "(session, state, result, contacts), searched=searched)\n",
        "(session, state, result, contacts), searched=searched, observations=(*result.seen, *proposed.observations))\n",
        f"{_PLAN}::test_what_a_file_says_to_be_there_already_is_looked_at",
    ),
    Bug(
        "end well though a plan file has more",
        "core/planning/changes.py",
        "    return keep_changes(\n        proposed,\n        lambda contact, change: (change.action, change.tag) not",
        "    return keep_changes(\n        (),\n        lambda contact, change: (change.action, change.tag) not",
        f"{_PLAN}::test_strangers_are_not_tagged",
    ),
    Bug(
        "write through a link",
        "planfile.py",
        "    if path.is_symlink():\n",
        "    if path.is_symlink() and not path.is_file():\n",
        f"{_FORKS}::test_a_link_of_a_pull_request_is_not_written_through",
    ),
    Bug(
        "skip a link that leaves",
        "loading/file_tree.py",
        "            if _is_manifest(name) or self._may_declare(name, link):\n",
        "            if _is_manifest(name):\n",
        f"{_LINKS}::test_what_a_linked_directory_declared_is_not_pruned",
    ),
    Bug(
        "follow a link that leaves",
        "loading/files.py",
        "            if not resolved.is_relative_to(top):\n",
        "            if not resolved.is_relative_to(top.parent):\n",
        f"{_LINKS}::test_a_link_is_read_inside_and_refused_with_its_place_elsewhere",
    ),
    Bug(
        "take a submodule of another revision for nothing",
        "operations/git.py",
        "for entry in entries if entry.mode == _SUBMODULE}",
        "for entry in entries if entry.mode == _FOLDER}",
        f"{_LINKS}::test_a_submodule_is_not_taken_for_nothing",
    ),
    Bug(
        "take a submodule that is not checked out for nothing",
        "loading/files.py",
        "return top is not None and",
        "return top is None and",
        f"{_LINKS}::test_a_submodule_that_is_not_checked_out_is_not_taken_for_nothing",
    ),
    Bug(
        "take a pointer of Git LFS for contacts",
        "loading/contact_files.py",
        "    if is_lfs_pointer(first):\n",
        "    if is_lfs_pointer(first[1:]):\n",
        "tests/cli/test_lfs.py::test_a_contact_file_that_is_a_pointer_is_told_as_that",
    ),
)

OF_THE_LOCK = (
    Bug(
        "look for a process of another host",
        "store/leases.py",
        " or holder.host != socket.gethostname():",
        ":",
        _LEASE.format("host=elsewhere"),
    ),
    Bug(
        "look for a process of another boot",
        "store/leases.py",
        "    if (holder.boot_id, holder.pid_namespace) !=",
        "    if (ours.boot_id, holder.pid_namespace) !=",
        _LEASE.format("boot_id=00000000-0000-4000-8000-000000000000"),
    ),
    Bug(
        "look for a process of another PID namespace",
        "store/leases.py",
        "    if (holder.boot_id, holder.pid_namespace) !=",
        "    if (holder.boot_id, ours.pid_namespace) !=",
        _LEASE.format("pid_namespace=pid:[1]"),
    ),
    Bug(
        "take a holder of unknown start for dead",
        "store/leases.py",
        " or not holder.process_start or",
        " or",
        _LEASE.format("process_start=unknown"),
    ),
    Bug(
        "take a number for a process",
        "store/leases.py",
        "    return _has_another_start(holder)\n",
        "    return False\n",
        "tests/store/test_contract.py::test_a_holder_whose_number_another_process_has_by_now_is_dead[sqlite]",
    ),
    Bug(
        "take a holder that cannot be asked for dead",
        "store/leases.py",
        "    return _has_another_start(holder)\n",
        "    return True\n",
        "tests/store/test_contract.py::test_a_living_holder_on_this_host_keeps_its_lease[sqlite]",
    ),
    Bug(
        "wait for a dead holder's time",
        "store/leases.py",
        "    if not lease.holder.id or is_gone(lease.holder):",
        "    if not lease.holder.id:",
        "tests/store/test_contract.py::test_a_dead_holder_on_this_host_loses_its_lease_at_once[sqlite]",
    ),
)

GUARDS = (*OF_GIT, *OF_SETTINGS, *OF_FILES, *OF_THE_LOCK)

#!/usr/bin/env bash
# Where reconciler is installed on this runner, and the key of that in the cache: both change with any byte installed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
digest=$(
  cd "$root"
  find reconciler manifests docs/ci pyproject.toml .github/actions/shared/requirements.txt -type f ! -name '*.pyc' -print0 |
    LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-16
)
# -I: nothing of the checkout below is imported
version=$(python -I -c 'import platform; print(platform.machine() + "-" + platform.python_version())')
{
  printf 'path=%s\n' "${RUNNER_TOOL_CACHE:-$RUNNER_TEMP}/reconciler/$version-$digest"
  printf 'key=%s\n' "reconciler-${RUNNER_OS:-any}-$version-$digest"
} >>"$GITHUB_OUTPUT"

#!/usr/bin/env bash
# Installs the reconciler beside this action, at exactly the commit that the workflow pins, with pinned libraries.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
if [ ! -f "$RECONCILER_HOME/complete" ]; then
  rm -rf "$RECONCILER_HOME"
  python -I -m venv "$RECONCILER_HOME"
  export PIP_DISABLE_PIP_VERSION_CHECK=1
  # to compile all of every library takes half of the time: what is imported is compiled then, and cached with the rest
  "$RECONCILER_HOME/bin/pip" -q install --no-compile --require-hashes -r "$here/requirements.txt"
  # a copy: pip writes beside what it builds
  source=$(mktemp -d)
  cp -R "$root/reconciler" "$root/manifests" "$root/pyproject.toml" "$root/README.md" "$root/LICENSE" "$source"
  mkdir "$source/docs"
  cp -R "$root/docs/ci" "$source/docs"
  "$RECONCILER_HOME/bin/pip" -q install --no-compile --no-deps --no-build-isolation "$source"
  rm -rf "$source"
  touch "$RECONCILER_HOME/complete"
fi
"$RECONCILER_HOME/bin/reconciler" --version
printf '%s\n' "$RECONCILER_HOME/bin" >>"$GITHUB_PATH"

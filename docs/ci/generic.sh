#!/usr/bin/env bash
# For any CI: generic.sh check|plan|apply|pull|drift, in a checkout of the repository with the manifests.
#
#   check   no secrets; BASE is the target branch, such as origin/main
#   plan    RECONCILER_STATE that may be read; writes plan.json. Exit code 2: there are changes
#   apply   on the protected branch only: RECONCILER_STATE, the token, and APPROVED, the change digest that somebody approved.
#           Plans anew, and sends where that comes to the same digest; exit code 4 where it does not
#   pull    on the protected branch only: RECONCILER_STATE, RECONCILER_KEY and a token that may read. Where `snapshots` names a directory,
#           commit what changed there, and propose it
#   drift   RECONCILER_STATE that may be read and a token that may read. Exit code 2: there is drift
set -euo pipefail
manifests=${MANIFESTS:-manifests}
# stands above the manifests' own: nobody can have the token sent elsewhere by changing a manifest
export RECONCILER_API_BASE_URL=${RECONCILER_API_BASE_URL:-https://services.leadconnectorhq.com}

case ${1:-} in
  check)
    reconciler validate "$manifests"
    reconciler diff "$manifests" --base "${BASE:?}"
    ;;
  plan)
    reconciler plan "$manifests" --out plan.json --detailed-exitcode
    ;;
  apply)
    reconciler apply "$manifests" --approved "${APPROVED:?}" --lock-timeout 600
    ;;
  pull)
    reconciler pull "$manifests" --lock-timeout 600
    ;;
  drift)
    reconciler drift "$manifests" --refresh search --fail-on missing,unexpected,flapping
    ;;
  *)
    echo "usage: generic.sh check|plan|apply|pull|drift" >&2
    exit 64
    ;;
esac

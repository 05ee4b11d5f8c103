"""From manifests to the desired tags: checks, sets resolved, revisions compared, sets exported."""

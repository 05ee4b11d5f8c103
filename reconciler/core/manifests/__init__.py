"""From manifests to what is desired: checks, sets resolved, revisions compared, sets exported."""

"""From desired and observed to a plan: diff, batches, guards, approval, revert."""

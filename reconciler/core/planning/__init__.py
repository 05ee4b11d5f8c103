"""From what is desired and known to a plan: diff, batches, guards, approval, revert."""

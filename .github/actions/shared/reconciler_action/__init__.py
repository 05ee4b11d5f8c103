"""What the composite actions do around `reconciler`: run it, and tell GitHub what it said.

Law: it decides nothing about tags. Whatever comes from manifests or the CRM reaches the log between `stop-commands`,
Markdown through reconciler's own renderer, and outputs under a random delimiter.
"""

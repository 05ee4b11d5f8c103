"""Reading what contacts carry now. Law: holds a reader and no writer, and stores nothing: what it reads is a value."""

from reconciler.refresh.pacing import Reading
from reconciler.refresh.reading import Keep, keep_nothing, read_contacts, refresh, scan

__all__ = ["Keep", "Reading", "keep_nothing", "read_contacts", "refresh", "scan"]

"""Reading what contacts carry now. Law: holds a reader and no writer, and stores nothing: what it reads is a value."""

from reconciler.refresh.paced import ReadServices
from reconciler.refresh.read_location import Keep, keep_nothing, read_contacts, refresh, scan

__all__ = ["Keep", "ReadServices", "keep_nothing", "read_contacts", "refresh", "scan"]

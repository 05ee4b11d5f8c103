"""Where state lives. Law: sees ports and core; one door, `open_store(url)`."""

"""Conclusions from reading contacts: drift and its causes, whether a search was complete, diagnosis."""

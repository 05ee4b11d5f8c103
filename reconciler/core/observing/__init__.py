"""What reading contacts tells: drift, whose doing it was, whether a search was complete, diagnosis."""

"""The emulated HighLevel location. Law: sees wire and core; shares nothing else with the client that it answers."""

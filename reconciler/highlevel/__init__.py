"""The client of HighLevel's API over httpx. Law: sees ports, wire and core; the token is in one header and nowhere else."""

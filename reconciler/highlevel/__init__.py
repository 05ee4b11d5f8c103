"""The client of HighLevel's API over httpx.

Law: sees ports, wire and core. The token is in one header, to one origin, and nowhere else.
"""

"""The pure heart: values and functions from values to values.

Law: imports the standard library and this package only (numpy in the batch planner). No I/O, no clock, no randomness.
"""

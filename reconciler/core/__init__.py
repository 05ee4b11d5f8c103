"""The core: values, and functions from values to values.

Law: imports the standard library and this package only. No I/O, no clock, no randomness.
"""

"""The use cases of a directory of manifests, as functions: a typed request in, a typed result out.

Law: no click, no printing, no dictionary of options. The command line parses, calls one of these and prints.
"""

"""Documents as blocks, rows, charts and JSON, and a renderer for each format.

Law: a view holds outside text as it is; each renderer makes it harmless for its own sink.
"""

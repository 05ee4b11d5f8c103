"""What a person needs to see of a plan, a run, drift or state: blocks of text that every renderer knows how to draw.

Law: a view holds what outside text says as it is; making it harmless is the renderer's job, for each sink its own way.
"""

"""One pure renderer a file: a view in, text out. Law: sees core only; every sink escapes what came from outside."""

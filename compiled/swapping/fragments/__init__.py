"""Compiled fragments: programs that read from directions of a residual stream and write to directions."""

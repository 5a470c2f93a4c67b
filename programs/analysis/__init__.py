"""Facts about a program that need no compiling: causality, depth, values and widths."""

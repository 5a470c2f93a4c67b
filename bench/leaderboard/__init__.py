"""From many results to one ranking: reading, merging, intervals, tables."""

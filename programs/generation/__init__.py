"""Random programs over the whole language: making, counting what they use, and making them smaller."""

"""A model's graph, and which of its edges can matter."""

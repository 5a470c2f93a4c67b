"""One masked forward pass, and what is computed with it."""

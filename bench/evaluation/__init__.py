"""One method on one case: what it is scored by."""

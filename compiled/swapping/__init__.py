"""Parts of a model replaced by others."""

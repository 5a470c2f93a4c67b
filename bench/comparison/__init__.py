"""A model and the same model with parts replaced, compared answer by answer."""

"""What all tests share."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a deadline would be a timed test
settings.load_profile("untimed")

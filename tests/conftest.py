"""What all tests share."""

import torch
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a deadline would be a timed test
settings.load_profile("untimed")
torch.set_num_threads(1)  # tests run side by side, one process per core

"""Methods that learn which edges to keep: a gate per edge, trained by gradient."""

from gaugeblock.programs.loading import submodules

submodules(__name__, __path__)

"""Methods that score the edges or nodes of a model. Importing this package registers them all."""

from gaugeblock.programs.loading import submodules

submodules(__name__, __path__)

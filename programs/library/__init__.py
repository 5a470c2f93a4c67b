"""The programs that ship with gaugeblock, one module per topic."""

"""From a program to weights, one stage after the other; `gaugeblock.compiled.compiler` calls them in order."""

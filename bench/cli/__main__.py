"""`python -m gaugeblock.cli`."""

from gaugeblock.cli import main

main()

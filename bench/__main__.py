"""`python -m gaugeblock`."""

from gaugeblock.cli import main

main()

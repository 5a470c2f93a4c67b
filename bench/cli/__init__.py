"""The command line. Whatever takes long to import is imported inside the command that needs it."""

import sys

from gaugeblock.cli import cases, programs, runs, seasons, submissions
from gaugeblock.cli.shared import app
from gaugeblock.programs.errors import GaugeblockError

__all__ = ["app", "main"]


def main() -> None:
    """Entry point: an error raised on purpose, and one of a path, becomes one message and exit code 2."""
    try:
        app()
    except GaugeblockError as e:
        print(f"gaugeblock: {e}", file=sys.stderr)
        sys.exit(2)
    except OSError as e:  # a path that cannot be read or written
        where = f"{e.filename}: " if e.filename else ""
        print(f"gaugeblock: {where}{e.strerror or e}", file=sys.stderr)
        sys.exit(2)

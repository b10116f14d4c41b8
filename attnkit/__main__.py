"""`python -m attnkit`: the command line."""

import sys

from attnkit.experiment.cli import main

if __name__ == "__main__":
    sys.exit(main())

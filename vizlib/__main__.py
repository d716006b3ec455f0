"""The command line: `python -m vizlib --help`. Its sub-commands live in viztools, which is not needed in a notebook."""

import sys

from viztools.commands import main

if __name__ == "__main__":
    sys.exit(main())

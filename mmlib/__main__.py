"""The command line: `python -m mmlib train ...` and `python -m mmlib evaluate ...`."""

import sys

from mmlib.cli import main

if __name__ == "__main__":
    sys.exit(main())

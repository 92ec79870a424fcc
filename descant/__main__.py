"""`python -m descant` is the command line."""

import sys

from descant.cli import main

sys.exit(main())

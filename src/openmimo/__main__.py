"""`python -m openmimo` is the `openmimo` program."""

import sys

from openmimo.cli import main

sys.exit(main())

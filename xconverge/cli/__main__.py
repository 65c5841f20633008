"""``python -m xconverge.cli``."""

import sys

from xconverge.cli.main import main

sys.exit(main())

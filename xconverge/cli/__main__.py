"""``python -m xconverge.cli``."""

from xconverge.cli.main import main

main()

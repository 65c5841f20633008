"""Modules that pytest must not import for their examples here."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("torch") else ["xconverge/torch"]

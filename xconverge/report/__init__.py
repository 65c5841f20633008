"""A study in words, tables and one page: for the supervisor, the talk and the paper."""

from xconverge.report.findings import findings
from xconverge.report.methods import methods
from xconverge.report.page import write
from xconverge.report.tables import Table, tables

__all__ = ["Table", "findings", "methods", "tables", "write"]


def __dir__() -> list[str]:
    """Public names alone."""
    return __all__

"""The report of a reproduction: one self-contained page that reads like the paper, with what was measured beside it."""

from sgdlimit.report.page import write_report

__all__ = ["write_report"]

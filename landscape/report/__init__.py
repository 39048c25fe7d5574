"""Reports: one self-contained page about some runs, for any browser, without a network."""

from landscape.report.build import ReportOptions, build_report, save_report

__all__ = ["ReportOptions", "build_report", "save_report"]

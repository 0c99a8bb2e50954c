"""A run as one self-contained HTML file, and as rows for a table."""

from __future__ import annotations

from edgesynth.report.document import write_report
from edgesynth.report.summary import Headline, SummaryCell, SummaryRow, headlines, summary_table

__all__ = ["Headline", "SummaryCell", "SummaryRow", "headlines", "summary_table", "write_report"]

"""What the networks answer, for the report: pictures side by side, classes, mistakes, curves."""

from __future__ import annotations

from edgesynth.report.answers.section import AnswerSection, answer_section

__all__ = ["AnswerSection", "answer_section"]

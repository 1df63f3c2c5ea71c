"""A report shows what was made of an image: one HTML file that needs nothing beside it."""

from .answers import report_of_answer, report_of_fit
from .motions import report_of_motion
from .page import Page

__all__ = ["Page", "report_of_answer", "report_of_fit", "report_of_motion"]

"""A report shows what was made of an image: one HTML file that needs nothing beside it."""

from .answers import report_of_answer, report_of_fit
from .cohorts import report_of_cohort
from .families import report_of_family
from .maps import report_of_maps
from .motions import report_of_motion
from .page import Page
from .reconstructions import report_of_reconstruction

__all__ = [
    "Page",
    "report_of_answer",
    "report_of_cohort",
    "report_of_family",
    "report_of_fit",
    "report_of_maps",
    "report_of_motion",
    "report_of_reconstruction",
]

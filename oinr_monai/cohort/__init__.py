"""A cohort is many scans on which one task is done, on this machine or on a cluster."""

from .bids import Derivative
from .cohort import Cohort
from .engine import Engine, LocalEngine, RayEngine
from .manifest import Subject, find_images, read_dataset, read_manifest
from .motion_tasks import ReconstructTask, RegisterTask
from .status import Row, Summary, read_status, summary
from .task import DenoiseTask, FeaturesTask, FitTask, SuperResolveTask, Task

__all__ = [
    "Cohort",
    "DenoiseTask",
    "Derivative",
    "Engine",
    "FeaturesTask",
    "FitTask",
    "LocalEngine",
    "RayEngine",
    "ReconstructTask",
    "RegisterTask",
    "Row",
    "Subject",
    "Summary",
    "SuperResolveTask",
    "Task",
    "find_images",
    "read_dataset",
    "read_manifest",
    "read_status",
    "summary",
]

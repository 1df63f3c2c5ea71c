"""``python -m oinr_monai`` is ``oinr``."""

import sys

from .cli import main

sys.exit(main())

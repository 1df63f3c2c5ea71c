"""``python -m oinr_monai`` is ``oinr``."""

import sys

from oinr_monai.cli import main

sys.exit(main())

"""``python -m oinr_monai`` is ``oinr``."""

import sys

from oinr_monai.cli.app import main

sys.exit(main())

"""``python -m oinr_monai`` is ``oinr``."""

import sys

from oinr_monai.cli import main

if __name__ == "__main__":  # processes that work for this one import it too
    sys.exit(main())

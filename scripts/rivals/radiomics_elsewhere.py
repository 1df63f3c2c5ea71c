"""First-order and shape features by pyradiomics, in an environment of its own.

PYTHON -m scripts.rivals.radiomics_elsewhere PAIRS

Run from the root of the repository by the Python that has pyradiomics; nothing else of the
repository is imported. PAIRS is a JSON list of [image, labels, label]. Prints a list of the
features of each, as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

# Bins from the least to the greatest intensity.
BINS = 32


def main() -> None:
    """Measure every pair."""
    package: Any = importlib.import_module("radiomics")
    package.logger.setLevel("ERROR")
    made: Any = importlib.import_module("radiomics.featureextractor").RadiomicsFeatureExtractor
    measure = made(binCount=BINS)
    measure.disableAllFeatures()
    for kind in ("firstorder", "shape"):
        measure.enableFeatureClassByName(kind)
    found = [measure.execute(image, labels, label=label) for image, labels, label in _pairs()]
    print(json.dumps([_plain(each) for each in found]))


def _pairs() -> list[tuple[str, str, int]]:
    return json.loads(sys.argv[1])


def _plain(found: dict[str, Any]) -> dict[str, float]:
    start = "original_"
    return {
        name.removeprefix(start): float(number)
        for name, number in found.items()
        if name.startswith(start)
    }


if __name__ == "__main__":
    main()

"""Programs beside the package: the demo, the figures, the bundles, and what is measured."""

"""What the package is held against, rebuilt from its papers or called as its authors ship it."""

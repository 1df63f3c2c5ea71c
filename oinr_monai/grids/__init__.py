"""Grids: places in voxels and in mm, and interpolation between them."""

"""What MONAI calls the items of an image's meta, for whoever has no other need of MONAI.

A test holds them to ``monai.utils``, which takes seconds to load.
"""

from __future__ import annotations

__all__ = ["FILENAME", "LPS", "ORIGINAL_AFFINE", "SPACE", "SPATIAL_SHAPE", "TRANSFORM"]

# Keys of a MetaTensor's meta.
FILENAME = "filename_or_obj"
ORIGINAL_AFFINE = "original_affine"
SPACE = "space"
SPATIAL_SHAPE = "spatial_shape"

# A value of SPACE: x to the left, y to the back, z up.
LPS = "LPS"

# Key of an applied operation: the class of the transform.
TRANSFORM = "class"

"""Names of MONAI's own."""

from __future__ import annotations

from monai.utils import ImageMetaKey, MetaKeys, SpaceKeys, TraceKeys

from oinr_monai.images import meta_keys


def test_they_are_those_of_monai() -> None:
    assert meta_keys.FILENAME == ImageMetaKey.FILENAME_OR_OBJ
    assert meta_keys.ORIGINAL_AFFINE == MetaKeys.ORIGINAL_AFFINE
    assert meta_keys.SPACE == MetaKeys.SPACE
    assert meta_keys.SPATIAL_SHAPE == MetaKeys.SPATIAL_SHAPE
    assert meta_keys.LPS == SpaceKeys.LPS
    assert meta_keys.TRANSFORM == TraceKeys.CLASS_NAME

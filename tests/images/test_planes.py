"""Planes of DICOM become volumes: by places, numbers and times, within what is said to count."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from oinr_monai.images.dicom import stacked_planes
from oinr_monai.images.dicom_planes import Plane, planes_of
from oinr_monai.images.dicom_times import volumes_in_time
from oinr_monai.images.notes import ImageNote

PATH = Path("scan")
AXES = np.array([[0.0, 1.0, 0.0], [0.6, 0.0, 0.8]])  # right-handed with (0.8, 0, -0.6)
NORMAL = np.cross(*AXES)


def planes(heights: Sequence[float], **others: Any) -> list[Plane]:
    """Planes at heights along their normal; numbered against them."""
    first = Plane(
        (9, 11, 1), (1.25, 1.5), AXES, None, (4.0, "SliceThickness, 4 mm"), (1, 0), 1.0, 0.0
    )
    told = {"position": True, **others}
    placed = told.pop("position")
    return [
        replace(
            first,
            number=(len(heights) - k, 0),
            position=np.array([5.0, -3.0, 2.0]) + h * NORMAL if placed else None,
            **told,
        )
        for k, h in enumerate(heights)
    ]


def turned(axes: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]]) @ axes


def stacked(given: Sequence[Plane]) -> tuple[list[int], NDArray[np.float64], set[str]]:
    """The order, the affine, and what was told to be assumed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImageNote)
        order, affine = stacked_planes(PATH, given)
    words = {part for each in caught for part in str(each.message).split(": ", 1)[1].split("; ")}
    return list(order), affine, words


def test_planes_are_put_in_the_order_of_their_places() -> None:
    order, affine, words = stacked(planes([8.0, 0.0, 4.0, 12.0]))
    assert order == [1, 2, 0, 3]
    np.testing.assert_allclose(affine[:3, 0], AXES[0] * 1.5)
    np.testing.assert_allclose(affine[:3, 1], AXES[1] * 1.25)
    np.testing.assert_allclose(affine[:3, 2], NORMAL * 4, atol=1e-12)
    np.testing.assert_allclose(affine[:3, 3], [5.0, -3.0, 2.0])
    assert not words


def test_frames_of_one_object_keep_the_way_they_run() -> None:
    falling = [replace(each, number=(7, k)) for k, each in enumerate(planes([8.0, 4.0, 0.0]))]
    order, affine, _ = stacked(falling)
    assert order == [0, 1, 2]
    np.testing.assert_allclose(affine[:3, 2], -4 * NORMAL, atol=1e-12)
    rising = [replace(each, number=(7, k)) for k, each in enumerate(planes([0.0, 4.0, 8.0]))]
    assert stacked(rising)[0] == [0, 1, 2]


LONE = "a lone slice, its thickness taken from "
NOWHERE = "no position, the first voxel put at the origin"


@pytest.mark.parametrize(
    ("given", "thickness", "words"),
    [
        (planes([3.0]), 4.0, {LONE + "SliceThickness, 4 mm"}),
        (planes([3.0], gap=(-2.5, "a gap, 2.5 mm")), 2.5, {LONE + "a gap, 2.5 mm"}),
        (planes([3.0], gap=None), 1.0, {LONE + "nothing, 1 mm"}),
        (planes([3.0], position=False), 4.0, {LONE + "SliceThickness, 4 mm", NOWHERE}),
        (planes([3.0], position=False, gap=None), 1.0, {LONE + "nothing, 1 mm", NOWHERE}),
        (
            planes([3.0], orientation=None, assumed=("by hand",)),
            4.0,
            {LONE + "SliceThickness, 4 mm", "no orientation, taken for axial", "by hand"},
        ),
    ],
)
def test_a_lone_plane_says_where_its_thickness_is_from(
    given: list[Plane], thickness: float, words: set[str]
) -> None:
    order, affine, told = stacked(given)
    assert order == [0]
    np.testing.assert_allclose(affine[:3, 2], given[0].axes[2] * thickness)
    assert told == words
    assert (affine[:3, 3] == 0).all() == (NOWHERE in words)


def test_without_places_numbers_and_one_distance_count() -> None:
    order, affine, words = stacked(planes([0.0] * 3, position=False, gap=(-3.0, "a gap, 3 mm")))
    assert order == [2, 1, 0]
    np.testing.assert_allclose(affine[:3, 2], 3 * NORMAL)
    assert words == {NOWHERE, "slices in the order of their numbers, as far apart as a gap, 3 mm"}
    for wrong in (
        planes([0.0] * 3, position=False, gap=None),
        [replace(each, number=(4, 0)) for each in planes([0.0] * 3, position=False)],
        [replace(p, gap=(k + 1.0, "")) for k, p in enumerate(planes([0.0] * 3, position=False))],
    ):
        with pytest.raises(ValueError, match="the slices have no position, and not both a number"):
            stacked(wrong)


FIRST, *REST = planes([0.0, 4.0, 8.0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": (9, 12, 1)}, "the slices differ in size, 11 x 9 x 1, 12 x 9 x 1;"),
        ({"size": (9, 11, 3)}, "the slices differ in size"),
        ({"spacing": (1.2513, 1.5)}, "the slices differ in pixel spacing"),
        ({"spacing": (1.25, 1.4984)}, "the slices differ in pixel spacing"),
        ({"orientation": None}, "some slices have no orientation"),
        ({"position": None}, "some slices have no position"),
        ({"orientation": turned(AXES, 2e-3)}, "the orientation differs .* up to 0.115 degrees"),
        ({"orientation": turned(AXES, math.pi / 2)}, "up to 90 degrees"),
    ],
)
def test_planes_that_are_not_alike_are_no_volume(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^scan: .*{reason}"):
        stacked([FIRST, *REST[:1], replace(REST[1], **change)])


@pytest.mark.parametrize(
    "change", [{"spacing": (1.2512, 1.4986)}, {"orientation": turned(AXES, 8e-4)}]
)
def test_differences_of_rounding_do_not_count(change: dict[str, Any]) -> None:
    assert stacked([FIRST, *REST[:1], replace(REST[1], **change)])[0] == [0, 1, 2]


@pytest.mark.parametrize(
    ("heights", "reason"),
    [
        ([0.0, 4.0, 8.0, 12.15], ""),
        ([0.0, 4.0, 8.0, 12.16], "unevenly|spaced|apart"),
        ([0.0, 4.0, 12.0, 16.0], "unevenly|spaced|apart"),
        ([0.0, 4.0, 4.0009, 8.0], "1 of 4 slices repeat the place of another"),
        ([0.0, 0.0, 4.0, 4.0], "2 of 4 slices repeat the place of another"),
    ],
)
def test_planes_lie_evenly_or_are_no_volume(heights: list[float], reason: str) -> None:
    if not reason:
        assert stacked(planes(heights))[0] == [0, 1, 2, 3]
        return
    with pytest.raises(ValueError, match=reason):
        stacked(planes(heights))


# ---- in time -------------------------------------------------------------------------------------


def timed(places: Sequence[float], times: Sequence[tuple[float | None, ...]]) -> list[Plane]:
    pairs = zip(planes(places), times, strict=True)
    return [replace(each, times=when) for each, when in pairs]


def test_planes_that_repeat_are_volumes_one_after_the_other() -> None:
    given = timed([0, 4, 4, 0, 0, 4], [(t,) for t in (2.0, 2.1, 0.1, 0.0, 4.0, 4.1)])
    volumes, axis = volumes_in_time(PATH, given)
    assert volumes == [[3, 2], [0, 1], [4, 5]]
    assert axis is not None
    assert (axis.step, axis.unit) == (2.0, "sec")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda p: p[:-1], "not as often at each place"),
        (lambda p: [replace(each, times=(1.0,)) for each in p], "all at one time"),
        (lambda p: [replace(p[0], times=(None,)), *p[1:]], "a time that is not told"),
        (lambda p: [replace(p[0], kind=(30.0,)), *p[1:]], "several echoes"),
        (lambda p: [replace(p[0], position=None), *p[1:]], "a place that is not told"),
        (lambda p: p[:2], "no place again"),
    ],
)
def test_planes_that_do_not_repeat_regularly_are_one_volume(change: Any, name: str) -> None:
    given = change(timed([0, 4, 0, 4, 0, 4], [(float(k),) for k in (0, 0, 2, 2, 4, 4)]))
    assert volumes_in_time(PATH, given) == ([list(range(len(given)))], None), name


def test_the_first_clock_that_tells_all_apart_counts() -> None:
    clocks = [(None, 1.0, 9.0), (None, 1.0, 6.0), (5.0, 1.0, 3.0)]
    volumes, axis = volumes_in_time(PATH, timed([0, 0, 0], clocks))
    assert volumes == [[2], [1], [0]]
    assert axis is not None
    assert axis.step == 3.0


@pytest.mark.parametrize(("late", "told"), [(0.03, False), (0.1, True)])
def test_volumes_that_come_unevenly_are_told(late: float, told: bool) -> None:
    given = timed([0, 0, 0], [(0.0,), (2.0,), (4.0 + late,)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImageNote)
        _, axis = volumes_in_time(PATH, given)
    assert [str(each.message) for each in caught] == (
        ["scan: the volumes are 2 to 2.1 s apart; taken for even"] if told else []
    )
    assert axis is not None
    assert axis.step == pytest.approx(2 + late / 2)


# ---- what a header says --------------------------------------------------------------------------


def header(**told: Any) -> Dataset:
    dataset = Dataset()
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 9, 11, 3
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [1, 2, 3], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SpacingBetweenSlices = [1.25, 1.5], -4.0
    for name, value in told.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def places_of(dataset: Dataset) -> list[float]:
    found = planes_of(dataset)
    assert [each.number for each in found] == [(-1, k) for k in range(len(found))]
    return [float(each.position[2]) for each in found if each.position is not None]


SLICES, OFFSETS, TIMES = 0x0054_0080, 0x3004_000C, 0x0054_0070
NUCLEAR = "1.2.840.10008.5.1.4.1.1.20"


@pytest.mark.parametrize(
    ("told", "places"),
    [
        ({}, [3, 7, 11]),
        ({"SOPClassUID": NUCLEAR}, [3, -1, -5]),
        ({"SliceVector": [1, 3, 2], "FrameIncrementPointer": SLICES}, [3, 11, 7]),
        ({"SliceVector": [2, 1, 3], "FrameIncrementPointer": SLICES}, [3, -1, 7]),
        ({"GridFrameOffsetVector": [0, 2.5, 6], "FrameIncrementPointer": OFFSETS}, [3, 5.5, 9]),
        ({"GridFrameOffsetVector": [5, 2.5, 6], "FrameIncrementPointer": OFFSETS}, [3, 0.5, 4]),
        ({"TimeSlotVector": [1, 1, 1], "FrameIncrementPointer": [TIMES, SLICES]}, [3, 7, 11]),
        ({"ImagePositionPatient": None}, [0, 4, 8]),
        ({"SpacingBetweenSlices": None, "SliceThickness": 2.0}, [3, 5, 7]),
        ({"SpacingBetweenSlices": 0.0, "SliceThickness": 2.0}, [3, 5, 7]),
        ({"SpacingBetweenSlices": None}, [3, 3, 3]),
        ({"NumberOfFrames": 1}, [3]),
    ],
)
def test_frames_of_one_object_step_as_it_says(told: dict[str, Any], places: list[float]) -> None:
    assert places_of(header(**told)) == pytest.approx(places)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"SliceVector": [1, 2], "FrameIncrementPointer": SLICES}, "3 frames, but 2 slice numbers"),
        (
            {"GridFrameOffsetVector": [0, 1, 2, 3], "FrameIncrementPointer": OFFSETS},
            "3 frames, but 4 offsets of its frames",
        ),
        (
            {"TimeSlotVector": [1, 2, 3], "FrameIncrementPointer": TIMES},
            "follow each other in time",
        ),
        ({"TimeSlotVector": [1, 1], "FrameIncrementPointer": TIMES}, "follow each other in time"),
        ({"PerFrameFunctionalGroupsSequence": [Dataset()]}, "3 frames, but headers for 1"),
        ({"PixelSpacing": [1.0, 0.0]}, r"PixelSpacing must be positive, got \[1.0, 0.0\]"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.1, 1, 0]}, "two unit vectors at right angles"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1.1, 0]}, "two unit vectors at right angles"),
        ({"ImagePositionPatient": [1, 2]}, "ImagePositionPatient must be 3 numbers"),
    ],
)
def test_headers_that_contradict_themselves_are_refused(told: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        planes_of(header(**told))


def test_spacings_are_trusted_in_their_order() -> None:
    told = {"ImagerPixelSpacing": [2.0, 3.0], "NominalScannedPixelSpacing": [4.0, 5.0]}
    first = planes_of(header(**told))[0]
    assert (first.spacing, first.assumed[:-1]) == ((1.25, 1.5), ())
    second = planes_of(header(**told, PixelSpacing=None))[0]
    assert second.spacing == (2.0, 3.0)
    assert second.assumed[0] == "pixel spacing taken from ImagerPixelSpacing"
    last = planes_of(header(PixelSpacing=None))[0]
    assert (last.spacing, last.assumed[0]) == ((1.0, 1.0), "no pixel spacing; taken for 1 mm")
    assert last.assumed[-1] == "frames placed by SpacingBetweenSlices, 4 mm"


def test_the_first_of_what_a_frame_has_counts_before_all_frames() -> None:
    def measures(*spacings: list[float] | None) -> Dataset:
        group, items = Dataset(), []
        for spacing in spacings:
            item = Dataset()
            if spacing is not None:
                item.PixelSpacing = spacing
            items.append(item)
        group.PixelMeasuresSequence = items
        return group

    def told(frame: Dataset, shared: Dataset) -> tuple[float, float]:
        groups = {
            "PerFrameFunctionalGroupsSequence": [frame],
            "SharedFunctionalGroupsSequence": [shared],
        }
        return planes_of(header(**groups, NumberOfFrames=1))[0].spacing

    own, every = [3.0, 4.0], [5.0, 6.0]
    assert told(measures(own), measures(every)) == (3, 4)
    assert told(Dataset(), measures(every)) == (5, 6)
    # Of several measures the first alone is of this frame.
    assert told(measures(None, own), measures(every)) == (5, 6)
    assert told(measures(None, own), measures(None, every)) == (1.25, 1.5)


@pytest.mark.parametrize(
    ("told", "times"),
    [
        ({}, (None, None, None, None, None)),
        ({"TemporalPositionIdentifier": 3, "TemporalResolution": 500.0}, (1.5, *[None] * 4)),
        ({"TemporalPositionIdentifier": 3, "TemporalResolution": 0.0}, (None,) * 5),
        ({"TemporalPositionIdentifier": 3}, (None,) * 5),
        ({"FrameReferenceTime": 2500.0, "TriggerTime": 40.0}, (None, 2.5, 0.04, None, None)),
        ({"AcquisitionTime": "010203.25"}, (None, None, None, 3723.25, None)),
        ({"ContentTime": "235959"}, (None, None, None, None, 86_399.0)),
        ({"ContentTime": "2359"}, (None,) * 5),
    ],
)
def test_clocks_are_read_in_seconds(told: dict[str, Any], times: tuple[float | None, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom minds a clock that is cut short
        found = planes_of(header(**told))[0]
    assert found.times == times


def test_scalings_of_doses_and_maps() -> None:
    plain = planes_of(header())[0]
    assert (plain.slope, plain.intercept) == (1, 0)
    scaled = planes_of(header(RescaleSlope=2.0, RescaleIntercept=-5.0, DoseGridScaling=9.0))[0]
    assert (scaled.slope, scaled.intercept) == (2, -5)
    dose = planes_of(header(DoseGridScaling=0.5))[0]
    assert (dose.slope, dose.intercept) == (0.5, 0)
    other, mapping = Dataset(), Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 3.0, 4.0
    told = {"RealWorldValueMappingSequence": [other, mapping]}
    assert planes_of(header(**told))[0].slope == 1
    mapped = planes_of(header(**told, SOPClassUID="1.2.840.10008.5.1.4.1.1.30"))[0]
    assert (mapped.slope, mapped.intercept) == (3, 4)
    assert planes_of(header(EchoTime=30.0))[0].kind == (30, None)

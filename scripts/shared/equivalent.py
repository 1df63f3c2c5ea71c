"""Faults that change nothing, and why: what tests could not notice."""

from __future__ import annotations

__all__ = ["CHANGES_NOTHING"]

# Between the rounding of float64 and whatever counts, a tolerance may be any number.
TOLERANCE = "a tolerance: rounding is far below both, and what counts is far above"

ONE_LENGTH = "zip of what always has one length"

SHORTER = "a shorter way to the same answer"

NEVER = "of floats, which never are that number"

ALIKE = "another image of the same kind"

AT_PLACES = "return self._answer(positions, (1,) * positions.spatial_dims, order, layer)"

ONE_JET = "return self(jet.squeeze(0), list(dilation), gain).unsqueeze(0)"

ONE_TAP = "return _mix(weight.flatten(1), self(positions, order))"

# By module, class and function, code, what it becomes, and which of those that are alike.
CHANGES_NOTHING: dict[tuple[str, str, str, str, int], str] = {
    (
        "oinr_monai/testing/operators.py",
        "padding_changes_nothing_inside",
        "1e-11",
        "2e-11",
        0,
    ): TOLERANCE,
    ("oinr_monai/testing/operators.py", "_check_training", "1e-11", "2e-11", 0): TOLERANCE,
    (
        "oinr_monai/testing/forward_models.py",
        "the_adjoint_is_one",
        "1e-12",
        "2e-12",
        0,
    ): TOLERANCE,
    ("oinr_monai/testing/noises.py", "_scene", "8", "9", 0): ALIKE,
    (
        "oinr_monai/images/nifti.py",
        "_note_forms",
        "float(told) > 1 + 1e-06",
        "float(told) >= 1 + 1e-06",
        0,
    ): NEVER,
    (
        "oinr_monai/images/metrics.py",
        "_laplacian",
        "2",
        "3",
        3,
    ): "a factor of both images, whose ratio is the score",
    (
        "oinr_monai/scanner/noise.py",
        "_rician_tables",
        "2000",
        "2001",
        0,
    ): "a table with one row more",
    (
        "oinr_monai/scanner/noise.py",
        "_rician_tables",
        "0.1",
        "0.2",
        0,
    ): "a bound on a variance that is never below 0.43",
    (
        "oinr_monai/restoration/stein.py",
        "_blocks",
        "-n // BLOCK",
        "-n * BLOCK",
        0,
    ): "more blocks are drawn than the image has; those beyond it are cut off",
    (
        "oinr_monai/operators/wavelets.py",
        "min_size",
        "0",
        "1",
        0,
    ): "PyWavelets makes both filters of a pair equally long",
    (
        "oinr_monai/representation/neural_field.py",
        "few_threads",
        "64",
        "65",
        0,
    ): "threads alone, not what they compute; an operator of 65 channels is as narrow",
    ("oinr_monai/scanner/noise.py", "_rician_tables", "30", "31", 0): (
        "between the two, both are the same to 1e-3"
    ),
    ("oinr_monai/restoration/views.py", "View.mirrors", "1e-09", "2e-09", 0): TOLERANCE,
    (
        "oinr_monai/representation/neural_field.py",
        "NeuralField.forward",
        f"if max(halo) == 0:\n    {AT_PLACES}",
        f"if False:\n    {AT_PLACES}",
        0,
    ): SHORTER,
    (
        "oinr_monai/restoration/fused_stacks.py",
        "Fusion._error",
        "True",
        "False",
        0,
    ): ONE_LENGTH,
    ("oinr_monai/coding/decoder.py", "_chunking", "True", "False", 0): ONE_LENGTH,
    (
        "oinr_monai/operators/integral.py",
        "Integral.jet",
        f"if len(jet) == 1:\n    {ONE_JET}",
        f"if False:\n    {ONE_JET}",
        0,
    ): SHORTER,
    (
        "oinr_monai/images/stored_spline.py",
        "StoredInterpolant._on_lattice",
        "3",
        "4",
        0,
    ): "at the last sample a spline is the same from the cell before and from the one after",
    (
        "oinr_monai/testing/forward_models.py",
        "single_precision_suffices",
        "0",
        "1",
        0,
    ): ALIKE,
    (
        "oinr_monai/restoration/fused_stacks.py",
        "_within",
        "voxels < sizes - 0.5 + 1e-06",
        "voxels <= sizes - 0.5 + 1e-06",
        0,
    ): NEVER,
    (
        "oinr_monai/testing/noises.py",
        "stabilised_noise_has_unit_variance",
        "abs(spread - 1) <= 0.05",
        "abs(spread - 1) < 0.05",
        0,
    ): NEVER,
    (
        "oinr_monai/fields/field.py",
        "Field.integrate",
        f"if max(taps) == 1:\n    {ONE_TAP}",
        f"if False:\n    {ONE_TAP}",
        0,
    ): SHORTER,
    (
        "oinr_monai/testing/noises.py",
        "unknown_noise_is_estimated",
        "abs(spread - 1) <= 0.15",
        "abs(spread - 1) < 0.15",
        0,
    ): NEVER,
    ("oinr_monai/motion/mesh.py", "Mesh.grams", "True", "False", 0): ONE_LENGTH,
    (
        "oinr_monai/images/series.py",
        "_timed",
        "np.ptp(steps) > 1e-06 * steps.mean()",
        "np.ptp(steps) >= 1e-06 * steps.mean()",
        0,
    ): NEVER,
    ("oinr_monai/motion/displacement.py", "Undone.determinant_bounds", "low > 0", "low >= 0", 0): (
        "a bound that is not above 0 is Hadamard's, which is below"
    ),
    ("oinr_monai/restoration/scan_parts.py", "ScanParts.task", "32", "33", 0): (
        "other tasks of the same kind, for each number and seed its own"
    ),
    ("oinr_monai/coding/quantised.py", "_shifts", "True", "False", 0): ONE_LENGTH,
    ("oinr_monai/testing/operators.py", "_around", "True", "False", 0): ONE_LENGTH,
    (
        "oinr_monai/analysis/occupancy.py",
        "_sharpened",
        "if sigma < FINEST:\n    return sign.copy()",
        "if False:\n    return sign.copy()",
        0,
    ): "what is smoothed so little is sharpened to more than all of it, and cut off there",
}

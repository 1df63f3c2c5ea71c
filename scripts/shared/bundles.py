"""What differs between the bundles: constants, questions, and what metadata.json says of them.

The bundle of volumes, ``bundles/volume_oinr_representation``, is the source of all others.
"""

from __future__ import annotations

from typing import Any

from oinr_monai.analysis.codebook import codebook
from oinr_monai.analysis.jet_features import JET_MAPS, JET_SCALES, channel_names

# Of the weights that train.json fits, at held-out places of their image.
FITTED = {"psnr_at_held_out_places_of_model_pt_db": 36.5}

# Channels of features.
JETS = codebook(channel_names(JET_MAPS, JET_SCALES, spatial_dims=3))

# What differs: constants and the question in inference.json, and what metadata.json says of it.
# "fit" replaces how to fit, "trained" is the preset of what must be trained, "without" names keys
# that then mean nothing, "saved" says how to write.
OTHERS: dict[str, dict[str, Any]] = {
    "volume_oinr_derivatives": {
        "constants": {
            "maps": ["gradient", "gradient_magnitude", "laplacian"],
            "sigma": 0.0,
            "factor": None,
        },
        "answer": {"_target_": "oinr_monai.DeriveOINR", "maps": "@maps", "sigma": "@sigma"},
        "postfix": "derivatives",
        "metadata": {
            "name": "Volume O-INR derivatives",
            "task": "Exact spatial derivatives of one volume from its continuous representation",
            "description": "Fits an operator-based implicit neural representation to one volume "
            "and returns its exact derivatives in world axes, per mm.",
        },
        "answered": {
            "num_channels": 5,
            "value_range": [],
            "channel_def": {
                "0": "derivative along world x, intensity/mm",
                "1": "derivative along world y, intensity/mm",
                "2": "derivative along world z, intensity/mm",
                "3": "gradient magnitude, intensity/mm",
                "4": "Laplacian, intensity/mm^2",
            },
        },
    },
    "volume_oinr_features": {
        "constants": {
            "maps": list(JET_MAPS),
            "scales": list(JET_SCALES),
            "layer": None,
            "factor": None,
        },
        "answer": {
            "_target_": "oinr_monai.FeaturesOINR",
            "layer": "@layer",
            "maps": "@maps",
            "scales": "@scales",
        },
        "postfix": "features",
        "metadata": {
            "name": "Volume O-INR features",
            "task": "Features of one volume at scales in mm from its continuous representation",
            "description": "Makes one volume a continuous function and returns what its value, "
            "gradient and Hessian tell of every voxel at scales in mm, or the activations of a "
            "hidden layer of a trained one.",
        },
        "answered": {
            "num_channels": len(JETS),
            "value_range": [],
            "channel_def": {str(i): f"{c.meaning}; {c.unit}" for i, c in enumerate(JETS)},
        },
    },
    "volume_oinr_denoising": {
        "constants": {
            "noise": {"_target_": "oinr_monai.RicianNoise", "sigma": "@sigma"},
            "sigma": None,
            "factor": None,
        },
        "answer": {"_target_": "oinr_monai.SampleOINR"},
        "fit": {
            "_target_": "oinr_monai.DenoiseConfig",
            "noise": "@noise",
            "steps": "@steps",
            "seed": "@seed",
            "device": "$str(@device)",
        },
        "without": ["preset"],
        "postfix": "denoised",
        "metadata": {
            "name": "Volume O-INR denoising",
            "task": "Denoising of one volume without a clean image",
            "description": "Takes the noise out of a volume with an operator that learned from "
            "other scans, and returns the clean volume as its continuous representation.",
            "eval_metrics": {
                "psnr_db_white_noise_of_3_percent": 35.96,
                "psnr_db_white_noise_of_5_percent": 33.47,
                "psnr_db_white_noise_of_9_percent": 30.82,
                **FITTED,
            },
        },
        "answered": {"channel_def": {"0": "denoised intensity"}},
    },
    "volume_oinr_occupancy": {
        "constants": {"smoothing": 3.5, "factor": None},
        "answer": {"_target_": "oinr_monai.LabelsOINR"},
        "trained": "balanced",
        "fit": {
            "_target_": "oinr_monai.OccupancyConfig",
            "fit": {
                "_target_": "oinr_monai.FitConfig",
                "preset": "@preset",
                "steps": "@steps",
                "seed": "@seed",
                "device": "$str(@device)",
            },
            "smoothing": "@smoothing",
        },
        "postfix": "labels",
        "saved": {"output_dtype": "int32"},
        "metadata": {
            "name": "Volume O-INR occupancy",
            "task": "Continuous occupancies of one mask or label map, as labels on any grid",
            "description": "Fits an operator-based implicit neural representation to one mask or "
            "label map, a smooth occupancy a label, and returns the labels on a grid of any "
            "spacing.",
            "data_source": "models/model.pt: the MNI152 template that nilearn ships, its "
            "intensities; an example of the network, no occupancy",
            "image_classes": "a mask or label map of whole numbers, 0 the background",
        },
        "answered": {
            "format": "segmentation",
            "dtype": "int32",
            "channel_def": {"0": "label, as in the input; 0 the background"},
        },
    },
}


def encoded(spatial_dims: int, bands: int = 8) -> dict[str, str]:
    """Return what the channels of the network's input are, as metadata.json says it.

    Example:
        >>> encoded(2)["31"]
        'cosine of wavelength 7 along axis 1'
    """
    waves = ("sine", "cosine")
    return {
        str((2 * axis + i) * bands + k): f"{wave} of wavelength {k} along axis {axis}"
        for axis in range(spatial_dims)
        for i, wave in enumerate(waves)
        for k in range(bands)
    }


# Keys of inference.json that mean nothing where the answer comes from no network that was fitted.
UNUSED = ("fitted", "answer", "fitting_inferer", "trained_inferer")

# What the bundle of sequences says instead: its answer comes from all frames, and from no network
# that train.json fits, which is one of a single frame.
BETWEEN = {
    "_target_": "oinr_monai.plugin.EachInferer",
    "transform": {
        "_target_": "oinr_monai.InterpolateOINR",
        "at": "@at",
        "factor": "@factor",
        "config": "@fit",
        "motion": "@motion",
    },
}

ONE_FRAME = {"_target_": "Lambdad", "func": "$lambda image: image[@frame : @frame + 1]"}

METADATA_OF_SEQUENCES = {
    "name": "Sequence O-INR interpolation",
    "task": "Frames between the frames of one sequence of volumes",
    "description": "Fits one operator-based implicit neural representation to all frames of a "
    "sequence, with a learned field each and motion between them, and returns frames at any time "
    "between the first and the last. train.json fits its network to a single frame.",
    "data_type": "4-D nifti",
    "image_classes": "a sequence of volumes of one modality, time as the fourth axis",
}

FRAMES_ANSWERED = {
    "channel_def": {"0": "intensity, in the image's own units; the fourth axis is time"}
}

# What the bundles say whose answer comes from one image or several, and is not on the grid that
# train.json fits a network on: constants and the question in inference.json, keys that mean nothing
# then, and what metadata.json says.
OTHERWISE: dict[str, dict[str, Any]] = {
    "mri_oinr_super_resolution": {
        "constants": {
            "slice_axis": None,
            "slice_thickness": None,
            "profile": None,
            "seconds": None,
            "model": "$@bundle_root + '/models/model.pt'",
        },
        "asked": {
            "learn": {
                "_target_": "oinr_monai.SuperResolveConfig",
                "steps": "@steps",
                "seconds": "@seconds",
                "seed": "@seed",
                "device": "$str(@device)",
                "start": "@network_def",
            },
            "inferer": {
                "_target_": "oinr_monai.plugin.EachInferer",
                "transform": {
                    "_target_": "oinr_monai.SuperResolveOINR",
                    "config": "@learn",
                    "spacing": "@spacing",
                    "slice_axis": "@slice_axis",
                    "slice_thickness": "@slice_thickness",
                    "profile": "@profile",
                },
            },
        },
        "postfix": "super_resolved",
        "metadata": {
            "name": "MRI O-INR super-resolution",
            "task": "Isotropic volume from one stack of thick slices",
            "description": "An operator that learned from open scans of other people what thick "
            "slices take away goes on learning on the sharp axes of one stack, is applied across "
            "its slices and keeps them. train.json teaches that operator.",
            "data_source": "open_ms_data (CC BY), head label maps of SynthSeg and a chest CT of "
            "the elastix examples (Apache-2.0)",
            "image_classes": "a stack of thick slices, one or more channels, MRI or CT",
            "eval_metrics": {
                "psnr_over_cubic_spline_db_boxcar_4_voxels_at_once": 1.46,
                "psnr_over_cubic_spline_db_gaussian_4_voxels_at_once": 2.16,
            },
        },
        "answered": {"channel_def": {"0": "intensity, in the image's own units"}},
    },
    "deformable_oinr_registration": {
        "constants": {
            "fixed": "$@dataset_dir + '/fixed.nii.gz'",
            "model": "deformable",
            "transform": None,
        },
        "asked": {
            "load": {"_target_": "LoadImage", "ensure_channel_first": True},
            "register": {
                "_target_": "oinr_monai.RegisterOINRd",
                "keys": "image",
                "fixed": "fixed",
                "config": {"_target_": "oinr_monai.RegisterConfig", "model": "@model"},
                "motion": "motion",
            },
            "keep": "$lambda found: @transform and found['motion'].save(@transform)",
            "inferer": {
                "_target_": "oinr_monai.plugin.EachInferer",
                "transform": {
                    "_target_": "Compose",
                    "transforms": [
                        "$lambda image: {'image': image.cpu(), 'fixed': @load(@fixed)}",
                        "@register",
                        "$lambda found: (found['image'], @keep(found))[0]",
                    ],
                },
            },
        },
        "without": ["steps", "spacing"],
        "postfix": "registered",
        "metadata": {
            "name": "Deformable O-INR registration",
            "task": "One volume brought onto another one by a motion that cannot fold",
            "description": "Finds the motion between two volumes by Gauss-Newton, a pose and the "
            "flow of a velocity before it, coarse to fine, without training, and returns the "
            "moving volume on the grid of the fixed one. train.json fits a network to one volume.",
            "image_classes": "two volumes of the same object or of ones alike, of one kind of scan",
            "references": [
                "Pal et al., Implicit Representations via Operator Learning, ICML 2024",
                "Avants et al., Symmetric diffeomorphic image registration with cross-correlation, "
                "Medical Image Analysis 2008",
            ],
        },
        "answered": {"channel_def": {"0": "intensity of the moving volume, on the fixed grid"}},
    },
    "mri_oinr_reconstruction": {
        "constants": {
            "others": [],
            "masks": None,
            "motion": "slices",
            "profile": None,
            "seconds": None,
        },
        "asked": {
            "load": {"_target_": "LoadImage", "ensure_channel_first": True},
            "reconstruct": {
                "_target_": "oinr_monai.ReconstructOINR",
                "config": {
                    "_target_": "oinr_monai.ReconstructConfig",
                    "motion": "@motion",
                    "spacing": "@spacing",
                    "seconds": "@seconds",
                },
                "profile": "@profile",
            },
            "inferer": {
                "_target_": "oinr_monai.plugin.EachInferer",
                "transform": "$lambda image: @reconstruct([image.cpu(), *map(@load, @others)], "
                "list(map(@load, @masks)) if @masks else None)",
            },
        },
        "without": ["steps"],
        "postfix": "reconstructed",
        "metadata": {
            "name": "MRI O-INR reconstruction",
            "task": "One isotropic volume of stacks of thick slices that moved",
            "description": "Finds a rigid pose for each slice of several stacks by Gauss-Newton, by"
            " turns with the volume that they show, without training, and returns that volume. "
            "train.json fits a network to one stack as it is.",
            "image_classes": "stacks of thick slices of one object, one channel, MRI",
            "references": [
                "Pal et al., Implicit Representations via Operator Learning, ICML 2024",
                "Kuklisova-Murgasova et al., Reconstruction of fetal brain MRI with intensity "
                "matching and complete outlier removal, Medical Image Analysis 2012",
            ],
        },
        "answered": {"channel_def": {"0": "intensity, in the unit of the stacks"}},
    },
}

# The network of the bundle of thick slices, what it takes and gives, and how train.json teaches it,
# at the rates and with the mean of the weights of learn_super_resolution, and evaluate.json scores.
CARRIED = {"_target_": "oinr_monai.CarriedOperator", "width": 48, "blocks": 4}

TOLD = {
    "0": "slices, standardised",
    "1": "logarithm of the slice spacing over that within the slices, alike everywhere",
    "2": "what a slice keeps of waves of 1/2 cycle a slice, alike everywhere",
    "3": "what a slice keeps of waves of 1 cycle a slice, alike everywhere",
    "4": "what a slice keeps of waves of 3/2 cycles a slice, alike everywhere",
    "5": "logarithm of the noise, alike everywhere",
}

POLYNOMIALS = {str(i): f"coefficient of the polynomial of degree {i} in a slice" for i in range(8)}

TAUGHT: dict[str, Any] = {
    "loss": {"_target_": "oinr_monai.plugin.MissingDetail"},
    "optimizer": {
        "_target_": "oinr_monai.restoration.momentum.OrthogonalMomentum",
        "operator": "@network_def",
        "peak": "@learning_rate",
    },
    "lr_scheduler": {
        "_target_": "torch.optim.lr_scheduler.OneCycleLR",
        "optimizer": "@optimizer",
        "max_lr": "@learning_rate",
        "total_steps": "$@epochs * @epoch_length + 1",
        "pct_start": 0.02,
        "div_factor": 50,
        "cycle_momentum": False,
    },
    "average": "$copy.deepcopy(@network_def).to(@device)",
}

AVERAGED = {
    "_target_": "oinr_monai.restoration.averaging.Averaging",
    "network": "@network_def",
    "average": "@average",
    "memory": 0.999,
}

PARTS = {
    "_target_": "oinr_monai.plugin.RandomSlices",
    "data": "$[{'image': scan} for scan in @scans]",
}

DETAIL = {
    "_target_": "MeanSquaredError",
    "output_transform": "$oinr_monai.plugin.detail_and_truth",
}

LOADED = {
    "_target_": "CheckpointLoader",
    "load_path": "@model",
    "load_dict": {"model": "@network"},
    "map_location": "@device",
}

LIKE_THE_TRUTH = {
    "_target_": "oinr_monai.plugin.EachInferer",
    "transform": "$lambda image: oinr_monai.super_resolve(image, oinr_monai.SuperResolveConfig("
    "steps=0, start=@network_def, device=str(@device)))"
    ".sample(oinr_monai.Grid.from_image(@validate#truth))",
}

# What the 2-D bundle says instead. Pixels are whole numbers of 8 bits, and PIL would cut and wrap.
OUTPUT = {
    "output_ext": "$'.png' if str(@datalist#0#image).lower().endswith(('.png', '.jpg', '.jpeg'))"
    " else '.nii.gz'",
    "pixels": "$@output_ext == '.png'",
}

TO_PIXELS = {
    "_target_": "Lambdad",
    "keys": "pred",
    "func": "$lambda image: image.round().clamp(0, 255) if @pixels else image",
}

# MONAI 1.6.1 cannot write NIfTI from a 2-D image whose channel was squeezed, nor PNG from one with.
SAVED = {
    "output_ext": "@output_ext",
    "output_dtype": "$'uint8' if @pixels else 'float32'",
    "squeeze_end_dims": "@pixels",
}

METADATA_IN_2D = {
    "name": "Image O-INR representation",
    "task": "Continuous representation of one 2-D image, sampled on any grid",
    "description": "Fits an operator-based implicit neural representation to one 2-D image, grey "
    "or colour, and returns it on a grid of any spacing.",
    "data_source": "models/model.pt: the photograph 'camera' that scikit-image ships, CC0",
    "data_type": "png, jpeg or 2-D nifti",
    "eval_metrics": {"psnr_at_held_out_places_of_model_pt_db": 39.7},
    "image_classes": "a 2-D image, grey or colour, any modality",
}

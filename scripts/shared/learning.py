"""The command line of programs that learn an operator from open scans."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from oinr_monai import CarriedDenoiser, CarriedOperator, LearningConfig
from scripts.shared.open_scans import scans


def learn(
    program: Callable[..., CarriedDenoiser | CarriedOperator],
    noise: float,
    output: str,
    load: Callable[[Path], CarriedDenoiser] | None = None,
) -> None:
    """Read the arguments, learn, and save what was learned.

    Args:
        program: that learns.
        noise: the most that heads of random contrast get, over their range.
        output: file to save it to, if none is told.
        load: reads an operator that the program can go on from.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(output))
    if load is not None:
        parser.add_argument("--start", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = LearningConfig(arguments.steps, arguments.seconds, arguments.seed)
    checkpoint = arguments.output.with_suffix(".checkpoint")
    seen = scans(arguments.data, noise)
    start = {} if load is None or arguments.start is None else {"start": load(arguments.start)}
    program(seen, config, checkpoint=checkpoint, progress=True, **start).save(arguments.output)

"""The command line: fit an image, then ask the representation from a shell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from typer.core import TyperCommand

from .ask import evaluate, info, sample
from .cohort import cohort
from .console import message_of, refuse, say, usage_of
from .demo import demo
from .denoise import denoise
from .derive import derive
from .doctor import doctor
from .features import features
from .fit import fit
from .interpolate import interpolate
from .leaving import INTERRUPTED
from .mesh import mesh
from .options import NOTHING_WRITTEN, Command, Commands
from .reconstruct import reconstruct
from .register import register, warp
from .report import report
from .simulate import simulate
from .super_resolve import super_resolve
from .weights import classify, cohort_features

__all__ = ["app", "main"]


app = typer.Typer(
    cls=Commands,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fit an image once, then ask it anywhere: samples, exact derivatives, features.",
    epilog="Each command has more to say: oinr fit --help",
)


def _add(
    run: Callable[..., None], heading: str, example: str = "", cls: type[TyperCommand] = Command
) -> None:
    name = run.__name__.replace("_", "-")
    epilog = f"Example:  oinr {name} {example}"
    app.command(name, cls=cls, rich_help_panel=heading, epilog=epilog)(run)


FIRST, FIT, ASK = "First of all", "Image to function", "Ask it"
RESTORE, MANY = "Restore", "Several images"

_add(demo, FIRST, "-o oinr-demo")
_add(doctor, FIRST, "--json", cls=TyperCommand)  # an import of ours may be broken

_add(fit, FIT, "t1.nii.gz -o t1.oinr")
_add(info, FIT, "t1.oinr")
_add(evaluate, FIT, "t1.oinr t1.nii.gz")
_add(report, FIT, "t1.oinr -o t1.html --image t1.nii.gz")
_add(sample, ASK, "t1.oinr -o fine.nii.gz --spacing 0.5 0.5 0.5")
_add(derive, ASK, "cta.oinr -o maps --maps vesselness --sigma 0.75 1 1.5")
_add(mesh, ASK, "mask.oinr -o mask.stl --factor 2")
_add(features, ASK, "t1.oinr -o regions.csv --labels atlas.nii.gz")
_add(denoise, RESTORE, "t1.nii.gz -o clean.nii.gz --noise rician")
_add(super_resolve, RESTORE, "thick.nii.gz -o fine.nii.gz")
_add(reconstruct, RESTORE, "axial.nii.gz coronal.nii.gz -o volume.nii.gz --poses poses.csv")
_add(simulate, RESTORE, "t1.nii.gz -o thick.nii.gz --axis 2 --spacing 5")
_add(interpolate, MANY, "before.nii.gz after.nii.gz -o between.nii.gz --at 0.5")
_add(register, MANY, "fixed.nii.gz moving.nii.gz -o moved.nii.gz --transform there.tfm")
_add(warp, MANY, "moving.nii.gz --transform there.tfm --like fixed.nii.gz -o moved.nii.gz")
app.add_typer(cohort, name="cohort", rich_help_panel=MANY)
cohort.command("features", cls=Command)(cohort_features)
cohort.command(cls=Command)(classify)


@app.callback(invoke_without_command=True)
def _overview(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        from importlib import metadata

        typer.echo(f"oinr-monai {metadata.version('oinr-monai')}")
    elif ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; bad input and bad usage become one line on stderr.

    Args:
        arguments: what follows ``oinr`` in the shell; those of this process if None.

    Returns:
        The exit status: 0 done, 2 bad input or usage, 130 interrupted.
    """
    try:
        status = app(args=arguments, prog_name="oinr", standalone_mode=False)
        return int(status or 0)
    except (KeyboardInterrupt, typer.Abort):
        say(NOTHING_WRITTEN)
        return INTERRUPTED
    except typer.TyperException as error:
        return refuse(usage_of(error))
    except (ValueError, OSError) as error:
        return refuse(message_of(error))
    except RuntimeError as error:
        if "allocate" not in str(error):
            raise
        return refuse("the result must fit into memory; choose a coarser grid or fewer maps")

"""The command line: fit an image, then ask the representation from a shell."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .ask import evaluate, features, info, sample
from .cohort import cohort
from .console import hush, message_of, refuse, say, usage_of
from .denoise import denoise
from .derive import derive
from .fit import fit
from .interpolate import interpolate
from .leaving import INTERRUPTED, interruptible
from .mesh import mesh
from .options import ManyValues
from .simulate import simulate
from .super_resolve import super_resolve
from .weights import classify, cohort_features

__all__ = ["app", "main"]

NOTHING_WRITTEN = "interrupted; nothing is written"


class _Commands(TyperGroup):
    """The commands: an interrupt that none of them heeded takes a line, not a traceback."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say(NOTHING_WRITTEN)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Fit an image once, then ask it anywhere: samples, exact derivatives, features.",
)

app.command()(fit)
app.command()(info)
app.command(cls=ManyValues)(sample)
app.command()(evaluate)
app.command(cls=ManyValues)(features)
app.command(cls=ManyValues)(derive)
app.command(cls=ManyValues)(mesh)
app.command()(denoise)
app.command("super-resolve", cls=ManyValues)(super_resolve)
app.command()(simulate)
app.command()(interpolate)
app.add_typer(cohort, name="cohort")
cohort.command("features")(cohort_features)
cohort.command()(classify)


@app.callback(invoke_without_command=True)
def _overview(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
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
        with warnings.catch_warnings(), interruptible():
            hush()
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

"""Laws of forward models: linear maps between grids, with their exact adjoints."""

from __future__ import annotations

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.scanner.forward_model import ForwardModel

from .law import Battery, agree, generator, law, require

__all__ = ["forward_model_laws", "projection_keeps_the_data"]


@law
def images_lie_on_their_grids(model: ForwardModel) -> None:
    """Each way takes images of one grid to images of the other, in their own precision."""
    x, y = _image(model.source, 0), _image(model.target, 1)
    for dtype in (torch.float32, torch.float64):
        for found, like in ((model.forward(x.to(dtype)), y), (model.adjoint(y.to(dtype)), x)):
            of, wanted = (found.dtype, tuple(found.shape)), (dtype, tuple(like.shape))
            require(of == wanted, f"image must be {wanted}, got {of}")


@law
def single_precision_suffices(model: ForwardModel) -> None:
    """In single precision it is still right to four digits."""
    x, y = _image(model.source, 0), _image(model.target, 1)
    agree("A x", model.forward(x.float()).double(), model.forward(x), within=1e-4)
    agree("A' y", model.adjoint(y.float()).double(), model.adjoint(y), within=1e-4)


@law
def it_is_linear(model: ForwardModel) -> None:
    """A(2 x - 3 z) = 2 A x - 3 A z."""
    x, z = _image(model.source, 0), _image(model.source, 1)
    found = model.forward(2 * x - 3 * z)
    agree("A(2 x - 3 z)", found, 2 * model.forward(x) - 3 * model.forward(z), within=1e-10)


@law
def the_adjoint_is_one(model: ForwardModel) -> None:
    """<A x, y> = <x, A' y>, in parts of |A x| |y|."""
    x, y = _image(model.source, 0), _image(model.target, 1)
    seen = model.forward(x)
    off = abs(float((seen * y).sum() - (x * model.adjoint(y)).sum()))
    size = float(seen.norm() * y.norm())
    require(
        off <= 1e-12 * size, f"<A x, y> and <x, A' y> must agree within 1e-12, got {off / size}"
    )


@law
def the_adjoint_is_that_of_autograd(model: ForwardModel) -> None:
    """The gradient of <A x, y> with respect to x is A' y."""
    x, y = _image(model.source, 0).requires_grad_(), _image(model.target, 1)
    (gradient,) = torch.autograd.grad((model.forward(x) * y).sum(), x)
    agree("A' y", model.adjoint(y), gradient, within=1e-12)


@law
def the_adjoint_can_be_differentiated(model: ForwardModel) -> None:
    """The gradient of <A' y, x> with respect to y is A x."""
    x, y = _image(model.source, 0), _image(model.target, 1).requires_grad_()
    (gradient,) = torch.autograd.grad((model.adjoint(y) * x).sum(), y)
    agree("A x", gradient, model.forward(x), within=1e-10)


@law
def projection_keeps_the_data(model: ForwardModel, within: float = 1e-4) -> None:
    """Projected, an image is seen as the data; the way there is none that the scanner misses.

    ``within`` is how well: to rounding where A A' is solved in closed form, and to what the
    conjugate gradients leave where it is not.
    """
    truth, start = _image(model.source, 2), _image(model.source, 3)
    data = model.forward(truth)
    found = model.project(start, data)
    off = float((model.forward(found) - data).norm() / data.norm())
    require(off <= within, f"data must be kept within {within:g}, got {off:.3g}")
    moved, left = found - start, truth - found
    along = abs(float((moved * left).sum())) / float(moved.square().sum())
    require(along <= 1e-5, f"way moved must be orthogonal to what is left, got {along:.3g}")


@law
def damped_projection_is_least_squares(model: ForwardModel) -> None:
    """With damping l it is least in |A x - y|² + l |x - start|²."""
    start, data = _image(model.source, 2), _image(model.target, 3)
    found = model.project(start, data, damping=0.3)
    slope = model.adjoint(model.forward(found) - data) + 0.3 * (found - start)
    off = float(slope.norm() / model.adjoint(data).norm())
    require(off <= 1e-5, f"gradient at the answer must vanish within 1e-5, got {off:.3g}")


@law
def devices_agree(model: ForwardModel) -> None:
    """Images stay on their device, and every device has the same answers."""
    x, y = _image(model.source, 2).float(), _image(model.target, 3).float()
    expected = model.forward(x), model.adjoint(y), model.project(x, y, damping=0.1)
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        x, y = x.to(device), y.to(device)
        found = model.forward(x), model.adjoint(y), model.project(x, y, damping=0.1)
        for what, one, other in zip(("A x", "A' y", "projection"), found, expected, strict=True):
            require(one.device.type == device, f"{what} must be on {device}, got {one.device}")
            agree(what, one.cpu(), other, within=1e-3)


forward_model_laws = Battery(
    (
        images_lie_on_their_grids,
        single_precision_suffices,
        it_is_linear,
        the_adjoint_is_one,
        the_adjoint_is_that_of_autograd,
        the_adjoint_can_be_differentiated,
        projection_keeps_the_data,
        damped_projection_is_least_squares,
        devices_agree,
    )
)
"""Laws of a forward model, given alone."""


def _image(grid: Grid, seed: int) -> Tensor:
    return torch.randn(2, *grid.shape, generator=generator(seed), dtype=torch.float64)

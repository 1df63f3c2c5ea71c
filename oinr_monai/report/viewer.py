"""Three planes through volumes, to be moved by the mouse, one volume shown at a time."""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from monai.data import MetaTensor

from oinr_monai.grids.grid import Grid

from .page import inline

__all__ = ["Layer", "viewer"]

# Voxels of a layer at most: a megabyte and a half of text each.
MOST_VOXELS = 1 << 21

# How much of a layer over the first one is seen; chosen by hand.
OVER = 0.6

# Parts of the values that the window leaves out at either end.
LEFT_OUT = 0.002

SCRIPT = """
(async () => {
  const layers = LAYERS, status = document.getElementById("STATUS");
  const nv = new niivue.Niivue({ backColor: [0, 0, 0, 1], show3Dcrosshair: false, logLevel: "error",
    crosshairWidth: 0.5, crosshairWidthUnit: "percent", isResizeCanvas: true,
    dragAndDropEnabled: false, multiplanarForceRender: false });
  nv.onLocationChange = where => {
    const shown = where.values[current], mm = where.mm;
    const at = [...mm].slice(0, 3).map(x => x.toFixed(1)).join(", ");
    status.textContent = `${layers[current].name}: ${shown ? shown.value.toPrecision(4) : ""} at ` +
      `${at} mm`;
  };
  let current = 0;
  await nv.attachTo("CANVAS");
  for (const layer of layers) {
    const volume = await niivue.NVImage.loadFromBase64(
      { base64: layer.data, name: `${layer.name}.nii.gz`, colormap: layer.colormap });
    volume.cal_min = layer.window[0]; volume.cal_max = layer.window[1];
    nv.addVolume(volume);
  }
  nv.setSliceType(nv.sliceTypeMultiplanar);
  const buttons = [...document.querySelectorAll("#BUTTONS button")];
  const show = chosen => {
    current = chosen;
    const over = layers[chosen].over, seen = over ? OVER : 1;
    layers.forEach((_, i) => nv.setOpacity(i, i === chosen ? seen : over && !i ? 1 : 0));
    buttons.forEach((each, i) => each.setAttribute("aria-pressed", i === chosen));
    nv.createOnLocationChange();
  };
  buttons.forEach((button, i) => { button.onclick = () => show(i); });
  show(0);
  document.getElementById("CANVAS").dataset.drawn = "true";
})();
"""


@dataclass(frozen=True)
class Layer:
    """A volume to look at.

    Args:
        name: what it is.
        image: one channel (1, X, Y, Z), with its affine.
        colormap: a name that niivue knows.
        window: values that are black and white; all but the outermost where None.
        over: whether the first layer is seen through it.
    """

    name: str
    image: MetaTensor
    colormap: str = "gray"
    window: tuple[float, float] | None = None
    over: bool = False

    def item(self) -> dict[str, object]:
        """What the page keeps of it, as JSON values."""
        image = thinned(self.image)
        values = image.as_tensor()[0].float().cpu().numpy()
        low, high = self.window or _window(values)
        return {
            "name": self.name,
            "colormap": self.colormap,
            "window": [low, high],
            "over": self.over,
            "data": _packed(values, image.affine.cpu().numpy()),
        }


def viewer(layers: Sequence[Layer]) -> str:
    """HTML of a viewer; the first layer is shown first, and buttons show the others.

    Raises:
        ValueError: if there is no layer, one is no volume,
            or nilearn, which brings niivue, is not installed.
    """
    if not layers:
        raise ValueError("layers must be one or more, got none")
    for each in layers:
        if each.image.ndim != 4 or len(each.image) != 1:
            raise ValueError(f"image must be (1, X, Y, Z), got {tuple(each.image.shape)}")
    key = uuid4().hex
    buttons = "".join(f"<button>{escape(each.name)}</button>" for each in layers)
    names = {"CANVAS": f"c{key}", "STATUS": f"s{key}", "BUTTONS": f"b{key}"}
    script = SCRIPT.replace("OVER", str(OVER))
    script = script.replace("LAYERS", inline([each.item() for each in layers]))
    for name, own in names.items():
        script = script.replace(f'"{name}"', f'"{own}"').replace(f"#{name} ", f"#{own} ")
    return (
        f'<div class="layers" id="{names["BUTTONS"]}">{buttons}</div>'
        f'<div class="viewer"><canvas id="{names["CANVAS"]}"></canvas></div>'
        f'<p id="{names["STATUS"]}"></p><script>{_niivue()}</script><script>{script}</script>'
    )


def thinned(image: MetaTensor) -> MetaTensor:
    """The image, or means over blocks of its voxels where it has too many for a page."""
    voxels = math.prod(image.shape[1:])
    width = math.ceil((voxels / MOST_VOXELS) ** (1 / 3))
    if width <= 1:
        return image
    values = torch.nn.functional.avg_pool3d(image.as_tensor().float(), width, ceil_mode=True)
    affine = Grid.from_image(image).affine.clone()
    affine[:3, 3] += affine[:3, :3].sum(1) * (width - 1) / 2
    affine[:3, :3] *= width
    return MetaTensor(values, affine=affine)


def _window(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, (LEFT_OUT, 1 - LEFT_OUT))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def _packed(values: np.ndarray, affine: np.ndarray) -> str:
    # As bytes with a slope: what the eye sees, and numbers to a 255th of the range.
    import nibabel

    low, high = float(values.min()), float(values.max())
    slope = (high - low) / 255 or 1.0
    stored = nibabel.Nifti1Image(np.round((values - low) / slope).astype(np.uint8), affine)
    stored.header.set_slope_inter(slope, low)
    return base64.b64encode(gzip.compress(stored.to_bytes(), 9, mtime=0)).decode()


@cache
def _niivue() -> str:
    try:
        import nilearn
    except ImportError as error:
        raise ValueError("reports need `pip install oinr-monai[report]`") from error
    # The script of a viewer that runs without a network, as nilearn brings it.
    path = Path(nilearn.__file__).parent / "_assets" / "js" / "niivue.umd.js"
    return path.read_text(encoding="utf-8").replace("</script", "<\\/script")

"""The plug-in for MONAI: registered networks, transforms, an inferer, training."""

"""Fitting: from images to representations."""

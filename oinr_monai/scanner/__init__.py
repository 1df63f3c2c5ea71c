"""The scanner: how slices, sampling and noise come from what is continuous."""

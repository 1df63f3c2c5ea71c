"""Restoration: what the scanner hid, and what noise hid."""

"""Operators: networks that map a field to a signal."""

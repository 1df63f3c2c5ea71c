"""Representations: a field, an operator and a grid, as one continuous image."""

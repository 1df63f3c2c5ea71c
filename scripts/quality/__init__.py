"""Benches of how good results are, each a program that writes one page of docs/measured."""

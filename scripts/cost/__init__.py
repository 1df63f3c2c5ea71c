"""Benches of time and memory, each a program that writes one page of docs/measured."""

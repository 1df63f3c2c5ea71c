"""Reading a representation: derivatives, invariants, surfaces, regions, weights."""

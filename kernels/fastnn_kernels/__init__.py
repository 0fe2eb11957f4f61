"""Compiled loops over arrays and scalars for multilayer perceptrons. Knows nothing of the package fastnn."""

"""The kernels for NVIDIA GPUs: the same files, names and formulas as for the processor, one element a thread."""

"""The only room that speaks LLVM: pointers, vectors, register tiles and atomic words as Numba types."""

from fastnn_kernels.native import operators as operators  # registers them with Numba
from fastnn_kernels.native.lanes import any_lane, max_lanes, sum_lanes, transpose
from fastnn_kernels.native.pointer import Pointer, address
from fastnn_kernels.native.tile import tile_load, tile_rank1, tile_rows, tile_store, tile_zero
from fastnn_kernels.native.vector import (
    absolute,
    bits,
    fill,
    first_lanes,
    fma,
    from_bits,
    lane_numbers,
    load,
    maximum,
    minimum,
    pick,
    polynomial,
    round_even,
    select,
    sqrt,
    store,
    to_float,
    to_integer,
)

__all__ = [
    "Pointer",
    "absolute",
    "address",
    "any_lane",
    "bits",
    "fill",
    "first_lanes",
    "fma",
    "from_bits",
    "lane_numbers",
    "load",
    "max_lanes",
    "maximum",
    "minimum",
    "pick",
    "polynomial",
    "round_even",
    "select",
    "sqrt",
    "store",
    "sum_lanes",
    "tile_load",
    "tile_rank1",
    "tile_rows",
    "tile_store",
    "tile_zero",
    "to_float",
    "to_integer",
    "transpose",
]

"""What the inspection reads from the compiler's output."""

import pytest

from fastnn_kernels.cuda.inspect import FEW, Report, inner_share


def report(**changes):
    fields = {"kernel": "dense.feed", "architecture": 90, "dtype": "float32", "registers": 128, "shared": 16_896}
    fields |= {"threads": 256, "spills": 0, "local": 0, "float64": 0, "inner": None}
    return Report(**fields | changes)


@pytest.mark.parametrize(
    ("architecture", "registers", "shared", "occupancy"),
    [
        (90, 128, 0, 512 / 2048),  # registers: 65,536 / 128 / 256 = 2 blocks
        (90, 32, 0, 1.0),
        (90, 32, 100 << 10, 512 / 2048),  # shared memory: 228 KiB hold two of 101
        (75, 32, 36_864, 256 / 1024),  # 64 KiB hold one
        (120, 32, 0, 1.0),
        (90, 129, 0, 256 / 2048),  # 17 units of 256 a warp: one block
    ],
)
def test_occupancy_by_hand(architecture, registers, shared, occupancy):
    assert report(architecture=architecture, registers=registers, shared=shared).occupancy == occupancy


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({}, 0),
        ({"spills": 4}, 1),
        ({"local": 8}, 1),
        ({"float64": 1}, 1),
        ({"spills": 4, "local": 8, "float64": 1}, 3),
        ({"float64": 1, "dtype": "float64"}, 0),
        ({"float64": 1, "kernel": "step._begin_kernel"}, 0),
    ],
)
def test_what_is_a_fault(changes, faults):
    assert len(report(**changes).faults) == faults


def test_the_share_is_that_of_the_inner_loop():
    listing = ["        /*0000*/  MOV R1, R2 ;", ".L_x_0:", "        /*0010*/  IADD R1, R1, 0x1 ;", ".L_x_1:"]
    listing += ["        /*0020*/  FFMA R3, R4, R5, R3 ;"] * 30 + ["        /*0030*/  LDS.128 R4, [R1] ;"] * 9
    listing += ["        /*0040*/  @P0 BRA `(.L_x_1) ;", "        /*0050*/  @P1 BRA `(.L_x_0) ;"]
    assert inner_share("\n".join(listing)) == 30 / 40
    assert inner_share("\n".join(line for line in listing if "BRA" not in line)) is None
    assert inner_share("\n".join([".L_x_1:", *listing[4 : 3 + FEW], listing[-2]])) is None

"""Types of what kernels do most, found at the first try.

Numba asks the templates of an operator one after the other, dozens for some, in the order of their registration; those
made for a target before those for all. It types some thousand operations of kernels, so that the order counts: it is
two seconds of a first compilation.
"""

from __future__ import annotations

import operator
from typing import Any, ClassVar

from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature


class FirstTemplate(AbstractTemplate):
    """Asked before Numba's own; gives None for what is not its own."""

    metadata: ClassVar[dict[str, str]] = {"target": "cpu"}


def _same(result: Any, *args: Any) -> type[FirstTemplate]:
    """Of what Numba gives as well, for these arguments."""

    class Template(FirstTemplate):
        def generic(self, given, kws):
            return signature(result, *args) if given == args else None

    return Template


for _op in (operator.add, operator.sub, operator.mul, operator.iadd):
    infer_global(_op)(_same(types.int64, types.int64, types.int64))
for _op in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge):
    infer_global(_op)(_same(types.boolean, types.int64, types.int64))
infer_global(bool)(_same(types.boolean, types.boolean))

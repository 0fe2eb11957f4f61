"""A record: typed addresses under names, handed on as the one address where they lie.

A tuple of some thirty pointers would be copied to the stack in every call of a kernel. What a record's addresses are
must not change while compiled code that knows it runs: they may stay in registers.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import lower_getattr_generic, models, register_model

from fastnn_kernels.native.pointer import Pointer

I64 = ir.IntType(64)


class Record(types.Type):
    """label: the type's name; fields: by name and in order, the dtype of what each address leads to.

    has_extras: whether functions that take it know what few networks have, see jit.extra; has_matrix: whether they know
    a matrix unit, see jit.matrix_only.
    """

    def __init__(
        self, label: str, fields: dict[str, types.Type], has_extras: bool = True, has_matrix: bool = False
    ) -> None:
        self.fields, self.has_extras, self.has_matrix = fields, has_extras, has_matrix
        super().__init__(name=label)


@register_model(Record)
class RecordModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, I64.as_pointer())


@infer_getattr
class RecordAttribute(AttributeTemplate):
    key = Record

    def generic_resolve(self, record, name):
        return Pointer(record.fields[name]) if name in record.fields else None


@lower_getattr_generic(Record)
def get_field(context, builder, record, value, name):
    kind = context.get_value_type(Pointer(record.fields[name]))
    at = builder.gep(value, [ir.Constant(I64, list(record.fields).index(name))])
    address = builder.load(builder.bitcast(at, kind.as_pointer()))
    address.set_metadata("invariant.load", builder.module.add_metadata([]))
    return address


def open_record(context, builder, kind, place):
    """Lower the value of a record whose addresses lie in an int64 array, or at a pointer: (type, value) each."""
    if isinstance(kind, Pointer):
        return place
    return context.make_array(kind)(context, builder, place).data

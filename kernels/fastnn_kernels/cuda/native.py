"""Memory as the device sees it, where Numba's arrays are not enough: the only file here that speaks LLVM and PTX.

load4(array, index)                       four elements at once; index: uint32, a multiple of 4
fixed(array, index)                       an element that nothing changes while the kernel runs; index: uint32
shared(elements, dtype)                   the memory of a block, at an address that can be read by fours; once a kernel
near(memory, index, offset)               element index + offset of it; index: uint32; offset: int, constant
near4(memory, index, offset)              the four from there on; both multiples of 4
set_near(memory, index, offset, value)    write one
set_near4(memory, index, offset, a, b, c, d)
thread_again()                            the number of the thread in its block, asked for anew

Addresses in shared memory are computed in 32 bits, half the registers of a pointer; that takes PTX, since LLVM makes
64 of them again. Under the simulator all of this is plain Python.
"""

from fastnn_kernels.cuda.driver import IS_SIMULATED, cuda, device

VECTOR = 4  # elements that a thread reads or writes at once

if IS_SIMULATED:
    import numpy as np

    @device
    def load4(array, index):
        return array[index], array[index + 1], array[index + 2], array[index + 3]

    @device
    def fixed(array, index):
        return array[index]

    @device
    def shared(elements, dtype):
        return cuda.shared.array(elements, dtype)

    @device
    def near(memory, index, offset):
        return memory[index + np.uint32(offset)]

    @device
    def near4(memory, index, offset):
        return load4(memory, index + np.uint32(offset))

    @device
    def set_near(memory, index, offset, value):
        memory[index + np.uint32(offset)] = value

    @device
    def set_near4(memory, index, offset, a, b, c, d):
        i = index + np.uint32(offset)
        memory[i], memory[i + 1], memory[i + 2], memory[i + 3] = a, b, c, d

    @device
    def thread_again():
        return np.uint32(cuda.threadIdx.x)

else:
    from llvmlite import ir
    from numba import types
    from numba.cuda.extending import intrinsic

    WORD = ir.IntType(32)
    AT_ONCE = 16  # bytes that one instruction moves

    def _pointer(context, builder, array_type, array, index):
        data = context.make_array(array_type)(context, builder, array).data
        return builder.gep(data, [builder.zext(index, ir.IntType(64))])

    def _near(context, builder, array_type, array, index, offset):
        """The address in shared memory of element index + offset."""
        data = context.make_array(array_type)(context, builder, array).data
        memory = builder.addrspacecast(data, ir.PointerType(data.type.pointee, addrspace=3))
        place = builder.add(_word(builder, index), _word(builder, offset))
        size = ir.Constant(WORD, array_type.dtype.bitwidth // 8)
        return builder.add(builder.ptrtoint(memory, WORD), builder.mul(place, size))

    def _word(builder, number):
        return number if number.type.width == WORD.width else builder.trunc(number, WORD)

    def _assembly(builder, result, text, constraints, arguments):
        """PTX as it is; it may read and write memory."""
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return builder.call(ir.InlineAsm(kind, text, constraints + ",~{memory}", side_effect=True), arguments)

    def _letter(kind):
        """Letter of the register's constraint and suffix of the instruction."""
        return ("f", "f32") if isinstance(kind, ir.FloatType) else ("d", "f64")

    def _load(builder, place, kind):
        letter, suffix = _letter(kind)
        return _assembly(builder, kind, f"ld.shared.{suffix} $0, [$1];", f"={letter},r", [place])

    def _store(builder, place, value):
        letter, suffix = _letter(value.type)
        _assembly(builder, ir.VoidType(), f"st.shared.{suffix} [$0], $1;", f"r,{letter}", [place, value])

    def _load_several(builder, place, kind, count):
        letter, suffix = _letter(kind)
        registers = ", ".join(f"${i}" for i in range(count))
        text = f"ld.shared.v{count}.{suffix} {{{registers}}}, [${count}];"
        constraints = ",".join([f"={letter}"] * count + ["r"])
        found = _assembly(builder, ir.LiteralStructType([kind] * count), text, constraints, [place])
        return [builder.extract_value(found, i) for i in range(count)]

    def _store_several(builder, place, values):
        letter, suffix = _letter(values[0].type)
        registers = ", ".join(f"${i + 1}" for i in range(len(values)))
        text = f"st.shared.v{len(values)}.{suffix} [$0], {{{registers}}};"
        _assembly(builder, ir.VoidType(), text, ",".join(["r"] + [letter] * len(values)), [place, *values])

    def _groups(builder, place, kind):
        """(address, first, last) of what one instruction moves of the VECTOR elements from `place` on."""
        count = VECTOR if isinstance(kind, ir.FloatType) else VECTOR // 2
        for first in range(0, VECTOR, count):
            address = builder.add(place, ir.Constant(WORD, first // count * AT_ONCE))
            yield address, first, first + count

    @intrinsic
    def load4(typing, array, index):
        def generate(context, builder, signature, arguments):
            place = _pointer(context, builder, array, *arguments)
            kind = ir.PointerType(ir.VectorType(place.type.pointee, VECTOR))
            vector = builder.load(builder.bitcast(place, kind), align=AT_ONCE)
            parts = [builder.extract_element(vector, ir.Constant(WORD, i)) for i in range(VECTOR)]
            return context.make_tuple(builder, signature.return_type, parts)

        return types.UniTuple(array.dtype, VECTOR)(array, index), generate

    @intrinsic
    def fixed(typing, array, index):
        def generate(context, builder, signature, arguments):
            value = builder.load(_pointer(context, builder, array, *arguments))
            value.set_metadata("invariant.load", builder.module.add_metadata([]))
            return value

        return array.dtype(array, index), generate

    @cuda.jit(device=True, inline="always")
    def shared(elements, dtype):
        return cuda.shared.array(elements, dtype, AT_ONCE)

    @intrinsic
    def near(typing, memory, index, offset):
        def generate(context, builder, signature, arguments):
            place = _near(context, builder, memory, *arguments)
            return _load(builder, place, context.get_value_type(memory.dtype))

        return memory.dtype(memory, index, types.int64), generate

    @intrinsic
    def near4(typing, memory, index, offset):
        def generate(context, builder, signature, arguments):
            place, kind = _near(context, builder, memory, *arguments), context.get_value_type(memory.dtype)
            parts = []
            for address, first, last in _groups(builder, place, kind):
                parts += _load_several(builder, address, kind, last - first)
            return context.make_tuple(builder, signature.return_type, parts)

        return types.UniTuple(memory.dtype, VECTOR)(memory, index, types.int64), generate

    @intrinsic
    def set_near(typing, memory, index, offset, value):
        def generate(context, builder, signature, arguments):
            _store(builder, _near(context, builder, memory, *arguments[:3]), arguments[3])
            return context.get_dummy_value()

        return types.void(memory, index, types.int64, memory.dtype), generate

    @intrinsic
    def set_near4(typing, memory, index, offset, a, b, c, d):
        def generate(context, builder, signature, arguments):
            place = _near(context, builder, memory, *arguments[:3])
            for address, first, last in _groups(builder, place, arguments[3].type):
                _store_several(builder, address, arguments[3 + first : 3 + last])
            return context.get_dummy_value()

        return types.void(memory, index, types.int64, *[memory.dtype] * VECTOR), generate

    @intrinsic
    def thread_again(typing):
        def generate(context, builder, signature, arguments):
            kind = ir.FunctionType(WORD, [])
            return builder.call(ir.InlineAsm(kind, "mov.u32 $0, %tid.x;", "=r", side_effect=True), [])

        return types.uint32(), generate

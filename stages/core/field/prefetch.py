"""Asking the cache for memory ahead of its use: the one thing numba has no word for.

Table entries of a hash grid lie anywhere; a load that misses holds up all later work once the processor's window is full, while a
prefetch does not wait. Measured on the encoding of 65,536 points with 2^19 entries a level: 323 ns a point without, 157 with.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

READ, TO_SECOND_LEVEL, DATA = 0, 2, 1  # operands of llvm.prefetch


@intrinsic
def prefetch(typing_context, array, index):
    """Fetch the cache line of element `index` (unsigned, counted from the array's first byte in elements) into the second-level cache."""

    def generate(context, builder, signature, arguments):
        data = arrayobj.make_array(signature.args[0])(context, builder, arguments[0]).data
        wide, narrow = ir.IntType(64), ir.IntType(32)
        at = arguments[1] if arguments[1].type == wide else builder.zext(arguments[1], wide)
        address = builder.bitcast(builder.gep(data, [at]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type, narrow, narrow, narrow])
        function = builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        builder.call(function, [address, narrow(READ), narrow(TO_SECOND_LEVEL), narrow(DATA)])
        return context.get_dummy_value()

    return types.void(array, index), generate

"""Block operations as fused kernels: the Pallas lowering of `block_map_p`.

lowering.py   a block operation -> one kernel for results of rows, one for all others
program.py    a function of blocks -> operations that kernels have
rewrites.py   operations that kernels lack -> others that they have
operands.py   arrays -> how they lie in a kernel's memory
targets.py    platform -> compiler
"""

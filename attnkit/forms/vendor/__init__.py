"""Softmax attention by kernels of vendors, where the definition is theirs.

plain.py     a variant and sizes -> why it is no plain attention; its band of keys
softmax.py   a vendor's kernel -> passes whose fold it computes; all derivatives stay sums over blocks
"""

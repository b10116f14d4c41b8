"""flax.nnx modules: they own parameters and call the rooms below."""

"""Tests wait for the compiler, not for what it makes: compile fast, as fast code is not what they ask for."""

import os

os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

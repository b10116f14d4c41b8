"""Operations that kernels lack, by others that they have."""
REWRITES = {}

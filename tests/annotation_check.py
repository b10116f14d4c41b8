"""The checker of annotations while tests run."""

from beartype import BeartypeConf, beartype

#: Integers are floats and floats are complex, as PEP 484 has it.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))

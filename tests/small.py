"""A config that trains in seconds; the fixture `small_run` is its finished run."""

CONFIG = """\
[task]
kind = "number_words"
digits = 3
longer_digits = [4]
valid_size = 11
test_size = 13
longer_size = 7

[model]
kind = "encoder_decoder"
encoder_depth = 1
decoder_depth = 1
model_dim = 12
heads = 2

[training]
steps = 4
batch_size = 5
evaluate_every = 2
steps_per_dispatch = 2

[decoding]
max_length = 9
"""

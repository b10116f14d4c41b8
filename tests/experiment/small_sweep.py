"""A small sweep, for the tests of sweeps."""

TINY = """\
about = "toy"

[task]
kind = "copy"
letters = 3
longest = 3
lengths = [3, 5]
held_out = 8

[model]
kind = "decoder"
depth = 1
heads = 2
model_dim = 8
mlp_ratio = 0

[training]
steps = 6
batch_size = 6
evaluate_every = 2
evaluation_batch_size = 8
steps_per_dispatch = 1

[decoding]
max_length = 6
scored = 8
"""
AXES = """
[sweep]
seeds = 2
rows = "rate"
metric = "valid.token_accuracy"

[sweep.groups.rate]
low = { "optimizer.learning_rate" = 1e-3 }
high = { optimizer.learning_rate = 1e-2 }
none = { optimizer.learning_rate = 1e38 }
"""


def line(text):
    """The line of a text in the file."""
    whole = (TINY + AXES).splitlines()
    return next(n for n, row in enumerate(whole, 1) if row.startswith(text))

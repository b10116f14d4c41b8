# %% [markdown]
# # Comparing five variants
#
# A result of one seed says little. A sweep is one file: what the cells share, what differs, how many seeds,
# and what stands in the rows of the table. Here five token mixers learn to look up what came earlier in a
# text; the networks are as small as they can be, so that this page takes a minute on a laptop.

# %%
import contextlib
import pathlib
import subprocess
import sys
import tempfile

import matplotlib.pyplot as plt

import attnkit as ak

SWEEP = """
[task]
kind = "recall"
vocabulary = 16
length = 24
pairs = 3
lengths = [48]
queries = "dense"

[model]
kind = "decoder"
depth = 1
heads = 1
model_dim = 16
mlp_ratio = 0
short_convolution = 3
mixer.position = []

[training]
steps = 300
batch_size = 32
evaluate_every = 50

[optimizer]
learning_rate = 1e-2

[decoding]
max_length = 1
scored = 32

[sweep]
seeds = 3
rows = "mixer"
metric = "token_accuracy"
threshold = 0.9

[sweep.groups.mixer]
softmax = { model.mixer = { kind = "attention", mask = "causal", position = [] } }
alibi = { model.mixer = { kind = "attention", mask = "causal", position = ["alibi"] } }
window = { model.mixer = { kind = "attention", mask = { kind = "window", back = 7 }, position = [] } }
linear = { model.mixer = { kind = "linear", conv_size = 0 } }
delta_net = { model.mixer = { kind = "delta_net", conv_size = 0 } }
"""
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "recall.toml").write_text(SWEEP)


def attnkit(*words):
    """A command as in a terminal."""
    with contextlib.chdir(folder):
        ran = subprocess.run([sys.executable, "-m", "attnkit", *words], capture_output=True, text=True)
    print(ran.stdout[-3000:] or ran.stderr[-3000:])


# %% [markdown]
# The three seeds of a mixer train as one program with one compilation. The command may be interrupted and
# said again: finished cells are skipped, half-done ones go on.

# %%
attnkit("sweep", "recall.toml", "--quiet")

# %% [markdown]
# Means with 95 % intervals over the seeds, how often a run came above the threshold, and tests against the
# first row, corrected for their number. The same as Markdown, LaTeX, CSV, figures and one page is in
# `sweeps/recall/comparison`.

# %%
attnkit("compare", "sweeps/recall", "--threshold", "0.9")

# %% [markdown]
# Every number of every run, without pandas or with it (`sweep.frame()`).

# %%
sweep = ak.load_sweep(folder / "sweeps" / "recall")
for row in sweep.rows()[:3]:
    print({name: row[name] for name in ("mixer", "seed", "parameters", "valid.token_accuracy")})
print(sweep)

# %%
figure, axis = plt.subplots(figsize=(6, 3))
for line in dict.fromkeys(run.labels["mixer"] for run in sweep.runs):
    found = [r["valid.token_accuracy"] for r in sweep.rows() if r["mixer"] == line]
    axis.plot([line] * len(found), found, "o")
axis.set_ylabel("accuracy, one point a seed")
axis.set_ylim(0, 1.02)
plt.show()

# %% [markdown]
# Then ask whether the comparison is fair: are there as many parameters, or as much state? `equal = {what =
# "parameters", by = "model.model_dim"}` in `[sweep]` solves for the widths, and `tune =
# "optimizer.learning_rate"` chooses each row's rate on validation and reports the test.

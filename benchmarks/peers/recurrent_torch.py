"""The references of flash-linear-attention in PyTorch, run when told.

`FOLDER` is an unpacked wheel of `fla-core`; only its `naive.py` files are read, each by itself. A line on
stdin names a reference, a file of arrays and where to put the output; the CPU seconds of forward and backward
pass come out, one thread.
"""

import importlib.util
import json
import pathlib
import sys
import time

import numpy as np
import torch

#: file, function, arguments in order, whether heads come before tokens, more arguments
REFERENCES = {
    "linear": ("linear_attn/naive.py", "naive_recurrent_linear_attn", "q k v", False, {"normalize": True}),
    "linear chunks": ("linear_attn/naive.py", "naive_chunk_linear_attn", "q k v", False, {"normalize": True}),
    "retnet": ("retention/naive.py", "naive_retention", "q k v", True, {}),
    "simple_gla": ("simple_gla/naive.py", "naive_recurrent_simple_gla", "q k v g", False, {}),
    "simple_gla chunks": ("simple_gla/naive.py", "naive_chunk_simple_gla", "q k v g", False, {}),
    "gla": ("gla/naive.py", "naive_recurrent_gla", "q k v g", False, {}),
    "hgrn2": ("gla/naive.py", "naive_recurrent_gla", "q k v g", False, {}),
    "rwkv6": ("rwkv6/recurrent_naive.py", "naive_recurrent_rwkv6", "q k v g bonus", True, {}),
    "delta_net": ("delta_rule/naive.py", "delta_rule_recurrence", "q k v beta", True, {}),
    "delta_net chunks": ("delta_rule/naive.py", "delta_rule_chunkwise", "q k v beta", True, {}),
    "gated_delta_net": (
        "gated_delta_rule/naive.py",
        "naive_recurrent_gated_delta_rule",
        "q k v beta g",
        False,
        {},
    ),
    "gated_delta_net chunks": (
        "gated_delta_rule/naive.py",
        "naive_chunk_gated_delta_rule",
        "q k v g beta",
        False,
        {},
    ),
    "kimi_delta": ("kda/naive.py", "naive_recurrent_kda", "q k v g beta", False, {}),
    "kimi_delta chunks": ("kda/naive.py", "naive_chunk_kda", "q k v g beta", False, {}),
}


def load(path):
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prepared(arrays, names, heads_first):
    given = []
    for name in names:
        a = torch.from_numpy(arrays[name])
        if name != "bonus":
            a = a[None] if heads_first else a[None].transpose(1, 2).contiguous()
        given.append(a.requires_grad_())
    return given


def main():
    torch.set_num_threads(1)
    folder = pathlib.Path(sys.argv[1]) / "fla" / "ops"
    print(json.dumps({"ready": list(REFERENCES)}), flush=True)
    for line in sys.stdin:
        name, source, target = json.loads(line)
        file, function, names, heads_first, more = REFERENCES[name]
        given = prepared(np.load(source), names.split(), heads_first)
        begun = time.process_time()
        o = getattr(load(folder / file), function)(*given, **more)
        o = o[0] if isinstance(o, tuple) else o
        (o.float() ** 2).sum().backward()
        seconds = time.process_time() - begun
        out = o.detach()[0] if heads_first else o.detach()[0].transpose(0, 1)
        np.save(target, out.numpy())
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()

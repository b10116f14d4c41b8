"""A plain PyTorch Transformer that trains when told how many steps to make."""

import json
import os
import sys
import time

BEGUN = time.time()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        batch, length, dim = x.shape
        split = self.qkv(self.first(x)).view(batch, length, 3, self.heads, dim // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, length, dim))
        return x + self.down(functional.gelu(self.up(self.second(x)), approximate="tanh"))


class Network(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.token = nn.Embedding(shape["vocabulary"], shape["dim"])
        self.place = nn.Embedding(shape["length"], shape["dim"])
        self.blocks = nn.Sequential(*(Block(shape["dim"], shape["heads"]) for _ in range(shape["depth"])))
        self.norm = nn.LayerNorm(shape["dim"])
        self.readout = nn.Linear(shape["dim"], shape["vocabulary"], bias=False)

    def forward(self, tokens):
        x = self.token(tokens) + self.place(torch.arange(tokens.shape[1], device=tokens.device))
        return self.readout(self.norm(self.blocks(x)))


def main():
    shape = json.loads(sys.argv[1])
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    device, low = shape.get("device", "cpu"), shape.get("precision") == "bfloat16"
    network = Network(shape).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    tokens = np.random.default_rng(0).integers(3, shape["vocabulary"], (shape["batch"], shape["length"] + 1))
    inputs, labels = (torch.from_numpy(a.copy()).to(device) for a in (tokens[:, :-1], tokens[:, 1:]))
    run = torch.compile(network) if device == "cuda" else network

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    def step():
        with torch.autocast(device, torch.bfloat16, enabled=low):
            logits = run(inputs)
        logits = logits.float()
        loss = functional.cross_entropy(logits.view(-1, shape["vocabulary"]), labels.view(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    step()
    wait()
    print(json.dumps({"first": time.time() - BEGUN}), flush=True)
    for line in sys.stdin:
        begun = time.perf_counter()
        for _ in range(int(line)):
            step()
        wait()
        print(json.dumps({"seconds": (time.perf_counter() - begun) / int(line)}), flush=True)


if __name__ == "__main__":
    main()

"""An exported network at work. `attnkit export` copies this file as `run.py`.

It needs jax, flatbuffers, numpy and safetensors.
As a program it computes the logits of the example beside it and compares them with those of the run.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

Arrays = dict[str, np.ndarray]


class Exported:
    """The network in the folder `place`.

    Attributes:
        about: sizes, inputs, vocabularies and versions, as in `export.json`.
        parameters: all parameters by name.
    """

    def __init__(self, place: Path) -> None:
        from jax import export
        from safetensors.numpy import load_file

        self.about: dict[str, Any] = json.loads((place / "export.json").read_text(encoding="utf-8"))
        self.parameters: Arrays = load_file(place / "model.safetensors")
        program = export.deserialize(bytearray((place / "network.jaxexport").read_bytes()))
        self._call = jax.jit(program.call)

    def logits(self, batch: Arrays) -> np.ndarray:
        """Logits `[batch, length, vocabulary]` of a batch with the inputs that `about["inputs"]` names."""
        return np.asarray(self._call(self.parameters, batch))

    def write(self, batch: Arrays, begun: int) -> np.ndarray:
        """`inputs` of a batch, of which the first `begun` are given, and the most probable tokens behind."""
        inputs = np.array(batch["inputs"])
        for place in range(begun, inputs.shape[1]):
            logits = np.array(self.logits({**batch, "inputs": inputs})[:, place - 1])
            logits[:, :2] = -np.inf  # padding and the beginning of a text are not written
            inputs[:, place] = logits.argmax(axis=-1)
        return inputs

    def text(self, tokens: np.ndarray) -> str:
        """The spelling of tokens of the output, up to the first end token."""
        vocabulary = self.about["vocabulary"]
        kept = [int(token) for token in tokens]
        kept = kept[: kept.index(2)] if 2 in kept else kept
        return str(vocabulary["joiner"]).join(vocabulary["tokens"][token] for token in kept if token > 2)


def main() -> None:
    """Compare the logits of the example with those of the run, and show the most probable answers."""
    from safetensors.numpy import load_file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    place = parser.parse_args().folder
    network, batch = Exported(place), load_file(place / "example.safetensors")
    expected = batch.pop("logits")
    logits = network.logits(batch)
    print(f"largest difference from the run's logits: {np.abs(logits - expected).max():.1e}")
    if not network.about["numbers"]:
        inputs = batch.get("inputs", np.ones((1, 0), np.int32))[0]
        last = np.count_nonzero(inputs) if len(inputs) == logits.shape[1] else logits.shape[1]
        tokens = logits[0, network.about["example_begun"] - 1 : last].argmax(axis=-1)
        print("most probable:", repr(network.text(tokens)))


if __name__ == "__main__":
    main()

"""Trains the toy network as one of several processes; arguments as those of `toy`."""

import json
import sys

from attnkit.errors import AttnkitError
from attnkit.signals import Ending
from attnkit.training.processes import joined


def main():
    Ending().__enter__()
    plan = json.loads(sys.argv[2])
    try:
        with joined():
            import jax
            import toy

            faults = {name: plan.pop(name) for name in ("poison", "broken") if name in plan}
            faults = faults if plan.pop("only", jax.process_index()) == jax.process_index() else {}
            dataset = toy.ToyDataset(slow=plan.pop("slow", 0.0), **faults)

            def report(progress):
                print(progress.step, "evaluation" if progress.evaluation else "step", flush=True)

            fitted = toy.train(sys.argv[1], dataset=dataset, resume=True, report=report, **plan)
            print("done", fitted.step, flush=True)
    except AttnkitError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

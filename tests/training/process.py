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
            import toy

            dataset = toy.ToyDataset(slow=plan.pop("slow", 0.0), poison=plan.pop("poison", ()))

            def report(progress):
                print(progress.step, "evaluation" if progress.evaluation else "step", flush=True)

            fitted = toy.train(sys.argv[1], dataset=dataset, resume=True, report=report, **plan)
            print("done", fitted.step, flush=True)
    except AttnkitError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

"""`devices`: the devices, the forms of attention they have, and the use that a config makes of them."""

import argparse
import json
from pathlib import Path
from typing import Any

LENGTH = 1024
#: All pairs of blocks of so many tokens are looked at in about a gigabyte.
LONGEST = 2**22


def add(groups: Any) -> None:
    """Declare the command."""
    command = groups.add_parser(
        "devices",
        help="show the devices, the forms of attention they have, and what a config would use",
        description="Show the devices that JAX finds and the forms of attention that they compile; with a "
        "config, the devices that its batches are spread over and the form of every mixer at some length.",
        epilog="example: attnkit devices configs/translation/number_words.toml --length 2048",
    )
    command.add_argument("config", metavar="CONFIG", nargs="?", type=Path, help="a TOML file")
    command.add_argument("words", metavar="dotted.key=value", nargs="*", help="options to change, as TOML")
    command.add_argument(
        "--length", type=int, default=LENGTH, metavar="N", help=f"tokens of a sequence (default: {LENGTH})"
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=devices)


def devices(arguments: argparse.Namespace) -> int:
    """Print devices, forms, and the use of a config."""
    from attnkit.errors import ConfigError
    from attnkit.experiment import config
    from attnkit.training.devices import use_cores

    use_cores()
    if not 0 < arguments.length <= LONGEST:
        raise ConfigError(f"--length {arguments.length}: expected 1 to {LONGEST}")
    loaded = config.load(arguments.config, arguments.words) if arguments.config else None
    found: dict[str, Any] = {"devices": local_devices(), "forms": forms()}
    if loaded:
        found["config"] = used(loaded, arguments.length)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    for one in found["devices"]:
        memory = f", {one['memory'] / 2**30:.1f} GiB" if one["memory"] else ""
        print(f"{one['count']} x {one['kind']} ({one['platform']}{memory})")
    for name, how in found["forms"].items():
        print(f"form {name}: {how}")
    if loaded:
        print(f"batches: on {found['config']['devices']} of {found['config']['there']} devices")
        print("mesh: " + " x ".join(f"{name} {size}" for name, size in found["config"]["mesh"].items()))
        if found["config"]["note"]:
            print(f"note: training.{found['config']['note']}")
        for key, form in found["config"]["mixers"].items():
            print(f"{key} at {arguments.length} tokens: {form}")
    return 0


def local_devices() -> list[dict[str, Any]]:
    """Local devices, those of a kind together; memory in bytes of one, 0 if it does not say."""
    import jax

    found: dict[tuple[str, str], dict[str, Any]] = {}
    for device in jax.local_devices():
        key = device.platform, device.device_kind
        memory = (device.memory_stats() or {}).get("bytes_limit", 0)
        one = {"platform": key[0], "kind": key[1], "count": 0, "memory": memory}
        found.setdefault(key, one)["count"] += 1
    return list(found.values())


def forms() -> dict[str, str]:
    """How each form of scored attention runs on this platform."""
    import jax

    from attnkit.forms import scored
    from attnkit.forms.catalogue import find_forms
    from attnkit.forms.sizes import Sizes
    from attnkit.scored.preset.attention import Attention

    platform, plain, found = jax.default_backend(), Attention().scored(), {}
    for name, form in find_forms(scored).items():
        compiled = getattr(form, "COMPILED_ON", None)
        if getattr(form, "DISTRIBUTED", False):
            only = f"; kernels compiled for {' and '.join(compiled)}" if compiled else ""
            found[name] = f"over devices that share a sequence, by `axis`, `mesh` or training.sequence{only}"
        elif compiled is None:
            found[name] = "compiled by XLA"
        elif refused := form.supports(plain, Sizes(256, 256, dtype=jax.numpy.bfloat16), platform):
            found[name] = f"not here: {refused}; compiled for {' and '.join(compiled)}"
        elif platform in compiled:
            found[name] = f"kernels compiled for {platform}"
        else:
            found[name] = f"here only to prove it; compiled for {' and '.join(compiled)}"
    return found


def used(loaded: Any, length: int) -> dict[str, Any]:
    """Use of a config: devices for its batches, and the form of each mixer of its model."""
    import jax

    from attnkit.experiment.commands.config import refuse_tensor
    from attnkit.experiment.compatibility import mixers
    from attnkit.training.devices import make_mesh, unused

    plan, model = loaded.experiment.training.made, loaded.experiment.model
    refuse_tensor(loaded)
    there, mesh = len(jax.local_devices()), make_mesh(plan)
    return {
        "devices": mesh.size,
        "mesh": dict(mesh.shape),
        "there": there,
        "note": unused(plan, there),
        "mixers": {
            ".".join(map(str, key)): form_of(node.made, length, plan.precision, plan.sequence)
            for option, value in model.options.items()
            for key, node in mixers(value, ("model", option))
        },
    }


def form_of(mixer: Any, length: int, dtype: str, devices: int) -> str:
    """The form that computes a mixer of inputs of a type, at some length that devices share, and why."""
    import jax

    from attnkit.forms import explain, explain_recurrent
    from attnkit.recurrence.contract import Recurrent
    from attnkit.scored.contract import Preset

    more: Any = {"devices": devices} if devices > 1 else {}
    try:
        if isinstance(mixer, Preset):
            return str(explain(mixer.scored(), length, length, dtype=jax.numpy.dtype(dtype), **more))
        if isinstance(mixer, Recurrent):
            return str(explain_recurrent(mixer, length, **more))
    except ValueError as error:
        if not more:
            raise
        return f"left to XLA, which may gather the sequence: {error}"
    return f"{type(mixer).__name__} has one form"

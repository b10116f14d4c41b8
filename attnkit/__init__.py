"""attnkit: write an attention idea once, as a small pure function, and get every way of computing it.

All public names are here, `import attnkit as ak`, and are imported when they are first used:

- computing: `attend`, `weights`, `explain`; `init` for parameters; `init_cache`, `extend`, `step` to decode;
  `recurrent` and `recurrent_weights` for recurrent attention;
- describing: `Attention` and its parts, each by its own name (`Alibi`, `Causal`, `Sparsemax`) and by its room
  (`masks`, `positions`, `scores`, `normalizers`, `selections`, `presets`, `feature_maps`, `recurrences`,
  `approximations`, `token_mixers`, `pools`, `models`, `tasks`);
- functions as in FlexAttention: `from_score_mod`, `from_mask_mod`;
- contracts to derive from: `Score`, `Position`, `Normalizer`, `Selection`, `Mask`, `LinearRecurrent`,
  `SteppedRecurrent`, `Approximate`, `Pool`, with `options`; `Data` and `Needs` for run-time data;
- layers: `layer`, and `nnx` with drop-ins for `flax.nnx`;
- proof and cost: `check`, `bench`;
- looking inside: `inspection`, to read and replace points, score, ablate and patch heads, and attribute;
- runs: `load_run`; sweeps: `load_sweep`.

>>> import attnkit as ak
>>> ak.Attention(position=ak.Alibi(), mask=ak.Causal() & ~ak.Window(back=3)).position
(Alibi(),)
>>> ak.Aliby  # doctest: +ELLIPSIS
Traceback (most recent call last):
AttributeError: attnkit has no Aliby...
"""

from typing import TYPE_CHECKING, Any

from attnkit import lazy

if TYPE_CHECKING:
    from attnkit import inspection
    from attnkit.api import nnx
    from attnkit.api.attention import attend, extend, init_cache, step, weights
    from attnkit.api.gpt2 import load_gpt2
    from attnkit.api.mods import from_mask_mod, from_score_mod
    from attnkit.api.notebook import draw, load_ipython_extension
    from attnkit.api.recurrence import recurrent, recurrent_weights
    from attnkit.api.run import load_run
    from attnkit.api.sweep import load_sweep
    from attnkit.api.variants import bench, check, explain, init, layer

    def __getattr__(name: str) -> Any: ...


__version__ = "0.1.0"

__all__ = [
    "attend",
    "bench",
    "check",
    "draw",
    "explain",
    "extend",
    "from_mask_mod",
    "from_score_mod",
    "init",
    "init_cache",
    "inspection",
    "layer",
    "load_gpt2",
    "load_ipython_extension",
    "load_run",
    "load_sweep",
    "nnx",
    "recurrent",
    "recurrent_weights",
    "step",
    "weights",
]

_MODULES = {
    "attention": ("attend", "extend", "init_cache", "step", "weights"),
    "gpt2": ("load_gpt2",),
    "mods": ("from_mask_mod", "from_score_mod"),
    "notebook": ("draw", "load_ipython_extension"),
    "recurrence": ("recurrent", "recurrent_weights"),
    "run": ("load_run",),
    "sweep": ("load_sweep",),
    "variants": ("bench", "check", "explain", "init", "layer"),
}
_NAMES = {name: f"attnkit.api.{module}:{name}" for module, names in _MODULES.items() for name in names}
_NAMES |= {
    "inspection": "attnkit.inspection",
    "nnx": "attnkit.api.nnx",
    "options": "attnkit.option_class:options",
    "Data": "attnkit.masks.contract:Data",
    "Needs": "attnkit.masks.contract:Needs",
    "Mask": "attnkit.masks.contract:Mask",
    "Score": "attnkit.scored.contract:Score",
    "Position": "attnkit.scored.contract:Position",
    "Normalizer": "attnkit.scored.contract:Normalizer",
    "Selection": "attnkit.scored.contract:Selection",
    "Preset": "attnkit.scored.contract:Preset",
    "Scored": "attnkit.scored.contract:Scored",
    "LinearRecurrent": "attnkit.recurrence.contract:LinearRecurrent",
    "SteppedRecurrent": "attnkit.recurrence.contract:SteppedRecurrent",
    "Approximate": "attnkit.approximate.contract:Approximate",
    "Pool": "attnkit.pooling.contract:Pool",
}
_ROOMS = {
    "presets": "attnkit.scored.preset",
    "scores": "attnkit.scored.score",
    "positions": "attnkit.scored.position",
    "normalizers": "attnkit.scored.normalizer",
    "selections": "attnkit.scored.selection",
    "masks": "attnkit.masks",
    "recurrences": "attnkit.recurrence.variant",
    "feature_maps": "attnkit.recurrence.feature",
    "approximations": "attnkit.approximate.variant",
    "token_mixers": "attnkit.layers.token_mixer",
    "pools": "attnkit.pooling",
    "models": "attnkit.models",
    "tasks": "attnkit.tasks",
}
if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy.namespace(_NAMES, _ROOMS)

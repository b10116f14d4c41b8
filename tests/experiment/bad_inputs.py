"""Bad inputs by the door they come through, each with the exit code and words of the message it must get."""

import json

from small import CONFIG


def changed(old, new):
    """The good config with one place changed."""
    assert old in CONFIG
    return CONFIG.replace(old, new)


#: Config files: text or bytes, exit code, words.
CONFIGS = {
    "no file": (None, "cannot be read: No such file"),
    "empty": ("", "the config is empty"),
    "blank": (" \n\n", "the config is empty"),
    "comment": ("# only this\n", "the config is empty"),
    "zero bytes": (b"\0" * 40, "not valid TOML"),
    "latin": (b"about = '\xe4'\n", "not UTF-8"),
    "utf-16": (CONFIG.encode("utf-16"), "not UTF-8"),
    "json": ('{"task": {"kind": "number_words"}}', "not valid TOML"),
    "yaml": ("task:\n  kind: number_words\n", "not valid TOML"),
    "python tag": ("a: !!python/object/apply:os.system [touch canary]\n", "not valid TOML"),
    "list at top": ("[1, 2]\n", "not valid TOML"),
    "value missing": (CONFIG + "top_k =\n", "not valid TOML"),
    "quote open": (CONFIG + "method = 'beam\n", "not valid TOML"),
    "bracket open": (changed("[decoding]", "[decoding"), "not valid TOML"),
    "key twice": (CONFIG + "max_length = 3\n", "cannot overwrite"),
    "table twice": (CONFIG + "[task]\nkind = 'copy'\n", "cannot declare"),
    "deep": ("a = " + "[" * 3000, "not valid TOML"),
    "deep tables": ("[" + ".".join("a" * 40) + "]\nx = 1\n", "nested"),
    "escape in a key": (CONFIG + '"\\u001b[31mred" = 1\n', "red"),
    "escape in a value": (changed('"number_words"', '"\\u001b]0;x\\u0007"'), "task.kind"),
    "bell in a section": (CONFIG + '["\\u0007"]\nx = 1\n', "no such section"),
    "right to left": (changed('"number_words"', '"\\u202enumber_words"'), "task.kind"),
    "no task": (CONFIG.replace("[task]", "[tasks]"), "tasks"),
    "no model": (CONFIG.replace("[model]", "[modle]"), "modle"),
    "section unknown": (CONFIG + "[optimiser]\nb1 = 0.9\n", "optimizer"),
    "section is a number": (CONFIG + "\n[optimizer.b1]\nx = 1\n", "optimizer.b1"),
    "task is a list": ("task = [1]\n[model]\nkind = 'decoder'\n", "task"),
    "model is true": ("model = true\n[task]\nkind = 'copy'\n", "model"),
    "training is text": ("training = 'fast'\n" + CONFIG.replace("[training]", "[x]"), "training"),
    "about is a number": ("about = 3\n" + CONFIG, "about"),
    "kind unknown": (changed('"number_words"', '"number_word"'), "number_words"),
    "kind is a number": (changed('"number_words"', "7"), "task.kind"),
    "kind is a list": (changed('"number_words"', "[]"), "task.kind"),
    "kind empty": (changed('"number_words"', '""'), "task.kind"),
    "kind missing": (changed('kind = "number_words"\n', ""), "kind"),
    "kind of another catalogue": (changed('"number_words"', '"encoder_decoder"'), "task.kind"),
    "kind is a module": (changed('"number_words"', '"os:system"'), "task.kind"),
    "kind is a missing file": (changed('"number_words"', '"absent.py:Task"'), "absent.py"),
    "kind leads upwards": (changed('"number_words"', '"../../etc/passwd:X"'), "task.kind"),
    "kind is a null byte": (changed('"number_words"', '"a\\u0000b.py:X"'), "task.kind"),
    "option unknown": (changed("digits = 3", "digitss = 3"), "digits"),
    "option of another kind": (changed("digits = 3", "path = 'x'"), "path"),
}

#: Overrides of the good config.
OVERRIDES = {
    "training.steps=0": "training.steps",
    "training.steps=-1": "training.steps",
    "training.steps=1.5": "training.steps",
    "training.steps=true": "training.steps",
    "training.steps=many": "training.steps",
    "training.steps=3000000000": "training.steps",
    "training.steps=4294967296": "training.steps",
    "training.steps=99999999999999999999": "training.steps",
    "training.steps=inf": "training.steps",
    "training.steps=nan": "training.steps",
    "training.steps=[]": "training.steps",
    "training.steps=": "training.steps",
    "training.steps": "dotted.key=value",
    "steps=3": "steps",
    "=3": "dotted.key=value",
    "training..steps=3": "dotted.key=value",
    ".training.steps=3": "dotted.key=value",
    "training.stepz=3": "steps",
    "training.steps.x=3": "not a table",
    "training=3": "training",
    "training.batch_size=0": "training.batch_size",
    "training.batch_size=-6": "training.batch_size",
    "training.batch_size='six'": "training.batch_size",
    "training.seed=-1": "training.seed",
    "training.seed=4294967296": "training.seed",
    "training.accumulate=-1": "training.accumulate",
    "training.accumulate=4": "training.accumulate",
    "training.evaluate_every=-1": "training.evaluate_every",
    "training.keep=0": "training.keep",
    "training.log_every=0": "training.log_every",
    "training.precision=float8": "training.precision",
    "training.precision=float64": "training.precision",
    "training.nonfinite=ignore": "training.nonfinite",
    "training.label_smoothing=1.0": "training.label_smoothing",
    "training.label_smoothing=-0.1": "training.label_smoothing",
    "training.label_smoothing=nan": "training.label_smoothing",
    "optimizer.learning_rate=0": "optimizer.learning_rate",
    "optimizer.learning_rate=-0.1": "optimizer.learning_rate",
    "optimizer.learning_rate=inf": "optimizer.learning_rate",
    "optimizer.learning_rate=nan": "optimizer.learning_rate",
    "optimizer.learning_rate=1e400": "optimizer.learning_rate",
    "optimizer.learning_rate=fast": "optimizer.learning_rate",
    "optimizer.b1=1.0": "optimizer.b1",
    "optimizer.b2=-0.5": "optimizer.b2",
    "optimizer.warmup=-1": "optimizer.warmup",
    "optimizer.weight_decay=-1": "optimizer.weight_decay",
    "decoding.max_length=0": "decoding.max_length",
    "decoding.beams=0": "decoding.beams",
    "decoding.temperature=0": "decoding.temperature",
    "decoding.temperature=inf": "decoding.temperature",
    "decoding.temperature=1e-40": "decoding.temperature",
    "decoding.top_p=0": "decoding.top_p",
    "decoding.top_p=1.1": "decoding.top_p",
    "decoding.method=guess": "decoding.method",
    "model.heads=5": "heads",
    "model.heads=0": "model.heads",
    "model.model_dim=0": "model.model_dim",
    "model.model_dim=13": "model_dim",
    "model.model_dim=-12": "model.model_dim",
    "model.model_dim=1e400": "model.model_dim",
    "model.encoder_depth=-1": "model.encoder_depth",
    "model.kind=encoder_decoders": "encoder_decoder",
    "model=none": "model",
    "model=7": "model",
    "model.0=3": "model",
    "model.decoder=alibbi": "model.decoder",
    "model.decoder.kind=softmax": "model.decoder",
    "model.decoder.mask=everything": "causal",
    "task.digits=0": "task.digits",
    "task.digits=99": "task.digits",
    "task.valid_size=0": "task.valid_size",
    "task.valid_size=-3": "task.valid_size",
    "task.longer_digits=4": "task.longer_digits",
    "task.longer_digits=[4, 'x']": "task.longer_digits",
    "task.longer_digits=[[4]]": "task.longer_digits",
    "about=[1]": "about",
    "\x1b[31m=3": "dotted.key=value",
    "training.\x1b[31m=3": "dotted.key=value",
    "a\udcff=3": "UTF-8",
    "training.steps=3; training.steps=4": "given twice",
}

#: Command lines in a folder with `good.toml`, `bad.txt` and the finished run `runs/small-1`.
OPTIONS = {
    "": (2, "usage"),
    "trian good.toml": (2, "did you mean 'train'"),
    "\x1b[31mtrain": (2, "no such command"),
    "train": (2, "required"),
    "train good.toml --fast": (2, "unrecognized"),
    "train good.toml --\x1b[31m": (2, "unrecognized"),
    "train good.toml --out": (2, "expected one argument"),
    "train good.toml --out ~nobody-at-all/x": (2, "--out"),
    f"train good.toml --out {'x' * 300}": (2, "more than"),
    "train good.toml --out x\x1b[31m": (2, "unprintable"),
    "train good.toml --out bad.txt": (2, "is a file"),
    "train good.toml --out runs/small-1": (2, "--resume"),
    "train good.toml --out full": (2, "is not empty"),
    "train small.toml --resume --out runs/small-1 model.heads=3": (2, "model.heads = 3"),
    "train small.toml --resume --out runs/small-1 training.seed=7": (2, "training.seed = 7"),
    "train bad.txt": (2, "not valid TOML"),
    "train full": (2, "not a regular file"),
    "train /dev/zero": (2, "not a regular file"),
    "validate \x1b[31m.toml": (2, "No such file"),
    "show": (2, "required"),
    "show good.toml task.digits=x": (2, "task.digits"),
    "evaluate": (2, "required"),
    "evaluate absent": (2, "not a run folder"),
    "evaluate bad.txt": (2, "not a run folder"),
    "evaluate \x1b[31m": (2, "not a run folder"),
    "report full": (2, "not a run folder"),
    "replay runs/small-1 model.depth=2": (2, ""),
    "devices absent.toml": (2, "No such file"),
    "devices full": (2, "not a regular file"),
    "devices good.toml --length 0": (2, "--length 0"),
    "devices good.toml --length 9999999999": (2, "expected 1 to 4194304"),
    "validate goo.toml": (2, "did you mean 'good.toml'"),
    "devices good.toml --length x": (2, "invalid int"),
    "devices good.toml model.nothing=3": (2, "no such option"),
    "sweep good.toml": (2, "has no [sweep] table"),
    "train sweep.toml": (2, "use attnkit sweep"),
    "sweep sweep.toml --dry-run --only abc": (2, "no cell"),
    "sweep sweep.toml --dry-run sweep.seeds=0": (2, "sweep.seeds = 0"),
    "sweep sweep.toml --dry-run sweep.seeds=99999999999": (2, "sweep.seeds = 99999999999"),
    "sweep sweep.toml --dry-run sweep.seeds=inf": (2, "sweep.seeds = inf"),
    "sweep sweep.toml --dry-run sweep.threshold=nan": (2, "sweep.threshold = nan"),
    "sweep sweep.toml --dry-run sweep.nothing=3": (2, "no such option"),
    "sweep sweep.toml --out full": (2, "holds no sweep"),
    "sweep sweep.toml --jobs 0": (2, "--jobs 0"),
    "compare": (2, "required"),
    "compare full": (2, "not a run folder"),
    "compare runs/small-1 runs/../runs/small-1": (2, "is given twice"),
    "compare runs/small-1 --threshold nan": (2, "threshold = nan"),
    "compare runs/small-1 --metric nothing": (2, "has no nothing"),
    "compare runs/small-1 --baseline nothing": (2, "no such row"),
    "compare runs/small-1 --rows nothing": (2, "no such axis"),
    "inspect full": (2, "not a run folder"),
    "inspect runs/small-1 --count 0": (2, "--count"),
    "inspect runs/small-1 --page absent/x.html": (2, "--page"),
    "inspect runs/small-1 --with full": (2, "not a run folder"),
    "export full": (2, "not a run folder"),
    "tune --length 0": (2, "--length 0"),
    "tune --rounds 0": (2, "--rounds 0"),
    "data absent": (3, "no such file"),
    "options nothing": (2, "no such table"),
    "check bad.txt": (2, "no such name"),
    "check small.toml:X": (2, "no module"),
    "replay full": (2, "not a run folder"),
    "replay runs/small-1": (2, "no step of this run failed"),
    "predict full x": (2, "not a run folder"),
    "predict runs/small-1 x --file bad.txt": (2, "give one or the other"),
    "predict runs/small-1 --file absent.txt": (3, "absent.txt: cannot be read"),
    "predict runs/small-1 x --out y": (2, "--out"),
    "predict runs/small-1 --file bad.txt --out absent/y": (2, "in a folder that exists"),
    "predict runs/small-1 x --seed -1": (2, "--seed"),
    "predict runs/small-1 x --seed 99999999999": (2, "--seed"),
    "predict runs/small-1 x --temperature hot": (2, "invalid float"),
    "predict runs/small-1 x --beams many": (2, "invalid int"),
    "predict runs/small-1 x --picture x.gif": (2, "--picture"),
    "predict runs/small-1 x y --picture x.png": (2, "one text"),
    "predict runs/small-1 x --picture absent/x.png": (2, "--picture"),
    "chat runs/small-1 --seed -1": (2, "--seed"),
    "variants alibbi": (2, "alibi"),
    "variants \x1b[31m": (2, ""),
    "variants bad.txt": (2, ""),
    "variants absent.py:X": (2, "absent.py"),
    "tasks alibi": (2, ""),
    "check": (2, "required"),
    "check absent.py:X": (2, "absent.py"),
    "check nothing_of_this_name": (2, ""),
    "bench attention --heads 0": (2, "--heads"),
    "bench attention --lengths 0": (2, "--lengths"),
    "bench attention --lengths": (2, "expected at least one"),
    "bench attention --rounds -1": (2, "--rounds"),
    "bench attention --png x.jpg": (2, "--png"),
    "bench good.toml --error": (2, "--error"),
}

PAIRS = b"red\trot\n" * 40
LABELS = b"yes\tgood\nno\tbad\n" * 20
#: Data files: the task, the file's bytes, words. Read with `path = "data.txt"`.
DATA = {
    "text: missing": ("text", None, "no such file"),
    "text: empty": ("text", b"", "empty"),
    "text: latin": ("text", b"abc\nd\xe4f\n" * 50, "data.txt:2"),
    "text: short": ("text", b"abc", ""),
    "text: gzip cut": ("text", b"\x1f\x8b\x08\0\0\0\0\0\0\3abc", "data.txt"),
    "pairs: missing": ("parallel_text", None, "no such file"),
    "pairs: empty": ("parallel_text", b"", "empty"),
    "pairs: no tab": ("parallel_text", PAIRS + b"blue blau\n", "data.txt:41: no tab"),
    "pairs: three columns": ("parallel_text", PAIRS + b"a\tb\tc\n", "data.txt:41: 3 columns"),
    "pairs: latin": ("parallel_text", PAIRS + b"gr\xfcn\tx\n", "data.txt:41"),
    "pairs: nul": ("parallel_text", b"\0" * 50, "data.txt"),
    "pairs: blank": ("parallel_text", b"\n\n\n", ""),
    "pairs: one": ("parallel_text", b"a\tb\n", "no pairs"),
    "pairs: escape": ("parallel_text", PAIRS + b"\x1b[31m\n", "no tab"),
    "labels: missing": ("labeled_text", None, "no such file"),
    "labels: empty": ("labeled_text", b"", "empty"),
    "labels: no tab": ("labeled_text", LABELS + b"yes\n", "data.txt:41"),
    "labels: one class": ("labeled_text", b"yes\tgood\n" * 40, ""),
    "labels: commas": (
        "labeled_text",
        b"yes,good\nno,bad\n" * 40,
        "data.txt:1: no tab; expected 'label TAB text'",
    ),
    "labels: swapped": (
        "labeled_text",
        b"".join(b"text %d\t%s\n" % (n, (b"yes", b"no")[n % 2]) for n in range(40)),
        "data.txt: 40 different classes and 2 different texts: the columns are swapped",
    ),
    "labels: wide": ("labeled_text", LABELS.decode().encode("utf-16-le"), "set encoding = 'utf-16-le'"),
    "labels: latin": ("labeled_text", LABELS + b"yes\t\xff\n", "data.txt:41"),
    "dialogue: missing": ("dialogue_file", None, "no such file"),
    "dialogue: empty": ("dialogue_file", b"", "empty"),
    "dialogue: a role": ("dialogue_file", b'{"messages": [{"role": 1}, "a"]}\n', "data.txt:1: turn 1 is"),
    "dialogue: no speaker": ("dialogue_file", b"hello\n", ""),
    "pictures: missing": ("captioned_images", None, "no such file"),
    "pictures: absent picture": ("captioned_images", b"a.png\ta cat\n" * 40, "a.png"),
    "pictures: upwards": ("captioned_images", b"../../etc/passwd\ta cat\n" * 40, "passwd"),
    "pictures: no tab": ("captioned_images", b"a.png\n", "data.txt:1"),
}


def spoiled(name, content):
    """A spoiler of one file of a run folder."""

    def spoil(run):
        path = run / name
        data = content(path.read_bytes()) if callable(content) else content
        path.unlink() if data is None else path.write_bytes(data)

    return spoil


def without_manifests(run):
    for path in run.rglob("manifest.json"):
        path.unlink()


def wrong_manifests(change):
    """A spoiler that changes the manifests, and gives them the right SHA-256."""

    def spoil(run):
        from attnkit import files
        from attnkit.training.manifest import LAYOUT

        for path in run.rglob("manifest.json"):
            body = json.loads(path.read_text())
            change(body)
            path.write_bytes(files.sealed(body, **LAYOUT))

    return spoil


def without_tree(run):
    for path in run.rglob("_METADATA"):
        path.unlink()


#: Run folders: the command, what is done to a copy of the run, exit code, words.
RUNS = {
    "config: missing": ("report", spoiled("config.toml", None), 2, "not a run folder"),
    "config: empty": ("report", spoiled("config.toml", b""), None, "config"),
    "config: cut": ("evaluate", spoiled("config.toml", lambda data: data[:-30]), None, "config"),
    "config: binary": ("predict", spoiled("config.toml", b"\xff\xfe\0"), None, "config"),
    "result: a list": ("report", spoiled("result.json", b"[1]"), 2, "expected an object"),
    "result: a number": ("report", spoiled("result.json", b"7"), 2, "expected an object"),
    "result: empty": ("report", spoiled("result.json", b""), 2, "cannot be read"),
    "result: an object": ("report", spoiled("result.json", b"{}"), 2, "SHA-256"),
    "result: deep": ("report", spoiled("result.json", b"[" * 100_000), 2, "cannot be read"),
    "result: latin": ("report", spoiled("result.json", b'{"a": "\xff"}'), 2, "cannot be read"),
    "result: changed": ("report", spoiled("result.json", lambda data: data.replace(b"0", b"1", 1)), 2, "SHA"),
    "dump: a list": ("replay", spoiled("nonfinite.json", b"[]"), 2, "expected an object"),
    "dump: empty": ("replay", spoiled("nonfinite.json", b""), 2, "cannot be read"),
    "manifests: missing": ("predict", without_manifests, 5, "every checkpoint is damaged"),
    "manifests: key missing": (
        "predict",
        wrong_manifests(lambda body: body.pop("leaves")),
        5,
        "every checkpoint is damaged",
    ),
    "manifests: key too many": (
        "predict",
        wrong_manifests(lambda body: body.update(more=1)),
        5,
        "every checkpoint is damaged",
    ),
    "manifests: format is text": (
        "predict",
        wrong_manifests(lambda body: body.update(format="1")),
        5,
        "every checkpoint is damaged",
    ),
    "manifests: format is newer": (
        "predict",
        wrong_manifests(lambda body: body.update(format=99)),
        5,
        "update attnkit",
    ),
    "manifests: step is text": (
        "predict",
        wrong_manifests(lambda body: body.update(step="4")),
        5,
        "every checkpoint is damaged",
    ),
    "manifests: shape is text": (
        "predict",
        wrong_manifests(lambda body: next(iter(body["leaves"].values())).update(shape="2")),
        5,
        "every checkpoint is damaged",
    ),
    "arrays: missing": ("predict", without_tree, 5, "every checkpoint is damaged"),
    "resume: manifests missing": ("resume", without_manifests, 5, "every checkpoint is damaged"),
}

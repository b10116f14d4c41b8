"""How far attention pooling gets on labeled sentences, beside counting words.

    python experiments/sst/sst.py FOLDER [--pools additive_pooling mean max] [--out runs/sst]

FOLDER holds `sst_binary_train.tsv`, `sst_binary_dev.tsv` and `sst_binary_test.tsv`, a line `label TAB text`
each. Every row of the table is trained on the same training file, chosen on the same dev file and measured
once on the same test file. The baseline needs the `bench` extra (scikit-learn).
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "classification" / "labeled_text.toml"
STRENGTHS = (0.3, 1.0, 3.0, 10.0)


def files(folder):
    return {
        split: folder / f"sst_binary_{name}.tsv"
        for split, name in (("train", "train"), ("valid", "dev"), ("test", "test"))
    }


def read(path):
    rows = [line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [text.lower() for _, text in rows], [label for label, _ in rows]


def counting(folder):
    """Accuracy on valid and test of logistic regression on TF-IDF of words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    begun = time.process_time()
    data = {split: read(path) for split, path in files(folder).items()}
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
    table = {"train": vectorizer.fit_transform(data["train"][0])}
    table |= {split: vectorizer.transform(data[split][0]) for split in ("valid", "test")}
    best = max(
        (
            LogisticRegression(C=strength, max_iter=1000).fit(table["train"], data["train"][1])
            for strength in STRENGTHS
        ),
        key=lambda model: model.score(table["valid"], data["valid"][1]),
    )
    found = {split: best.score(table[split], data[split][1]) for split in ("valid", "test")}
    return found, time.process_time() - begun


def trained(folder, pool, out):
    """Accuracy on valid and test of a run of the config with another pool, and its seconds."""
    paths = files(folder)
    place = f"{out}/{pool}"
    command = [
        *(sys.executable, "-m", "attnkit.experiment.cli", "train", str(CONFIG), f"model.pool={pool}"),
        *(
            f"task.path={paths['train']}",
            f"task.valid_path={paths['valid']}",
            f"task.test_path={paths['test']}",
        ),
        *("--out", place, "--quiet"),
    ]
    if not (pathlib.Path(place) / "result.json").is_file():
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    result = json.loads((pathlib.Path(place) / "result.json").read_text(encoding="utf-8"))
    splits = result["splits"]
    return {split: splits[split]["token_accuracy"] for split in ("valid", "test")}, result["seconds"]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--pools", nargs="*", default=["additive_pooling", "mean", "max"])
    parser.add_argument(
        "--out", default="runs/sst", help="folder of the runs; finished ones are not repeated"
    )
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    print("| model | dev accuracy | test accuracy | seconds |\n|---|---|---|---|")
    rows = [("TF-IDF, logistic regression", *counting(folder))]
    print_row(*rows[0])
    for pool in arguments.pools:
        print_row(f"convolution, pool `{pool}`", *trained(folder, pool, arguments.out))


def print_row(name, found, seconds):
    print(f"| {name} | {found['valid']:.1%} | {found['test']:.1%} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()

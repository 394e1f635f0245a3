"""Bad inputs: a valid one of each kind, and the ways in which it is broken."""

from __future__ import annotations

import dataclasses
import gzip
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parent.parent.parent
EMBEDDED = ROOT / "llama_experiments" / "embedded"
Change = Callable[[Path, random.Random], None]
Expected = Literal["bad", "good", "either"]

SMALL = [
    "training.epochs=1",
    "training.save_model=none",
    "dataset.train_examples=8",
    "dataset.validation_examples=8",
]
LLAMA = ["model=local", "model.checkpoint=llama", "model.learning_rate=1e-3"]
REVIEWS = ["dataset=local_sentiment", "dataset.labels=[negative,positive]"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A command and what is wrong with its input."""

    name: str  # its kind and number, by which it can be had again
    what: str  # for people
    arguments: list[str]
    change: Change = lambda folder, random: None
    expected: Expected = "either"
    hints: tuple[str, ...] = ()  # of which a refusal has one: where to look


def prepare(template: Path) -> None:
    """A folder with a valid input of each kind, and two runs."""
    from llama_experiments.cli import main

    template.mkdir(parents=True)
    write_data(template)
    shutil.copytree(EMBEDDED / "model", template / "llama")
    import contextlib
    import os

    home = Path.cwd()
    try:
        os.chdir(template)
        for number in (1, 2):
            with open(os.devnull, "w") as silent, contextlib.redirect_stdout(silent):
                status = main([*SMALL, *LLAMA, f"seed={number}", f"hydra.run.dir=outputs/2026-01-01/run{number}"])
            assert status == 0
    finally:
        os.chdir(home)


def write_data(folder: Path) -> None:
    """The same reviews in every format, and questions as SQuAD has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines = (EMBEDDED / "data" / "reviews.train.tsv").read_text().splitlines()[1:41]
    rows = [tuple(line.split("\t")) for line in lines]
    table = [{"text": text, "label": label} for text, label in rows]
    quoted = ['"{}",{}'.format(text.replace('"', '""'), label) for text, label in rows]
    (folder / "rows.csv").write_text("\n".join(["text,label", *quoted]) + "\n")
    (folder / "rows.tsv").write_text("\n".join(["text\tlabel", *("\t".join(row) for row in rows)]) + "\n")
    (folder / "rows.json").write_text(json.dumps(table))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    (folder / "rows.txt").write_text("\n".join(text for text, _ in rows) + "\n")
    pq.write_table(pa.Table.from_pylist(table), folder / "rows.parquet")
    (folder / "rows.csv.gz").write_bytes(gzip.compress((folder / "rows.csv").read_bytes()))
    squad = json.loads((EMBEDDED / "data" / "passages.train.json").read_text())
    squad["data"] = squad["data"][:8]
    (folder / "squad.json").write_text(json.dumps(squad))


# --- changes of any file


def bytes_of(*names: str) -> Iterator[tuple[str, Callable[[bytes, random.Random], bytes]]]:
    """Ways to break any file, by name."""
    ways: dict[str, Callable[[bytes, random.Random], bytes]] = {
        "cut off": lambda data, r: data[: r.randrange(len(data))],
        "empty": lambda data, r: b"",
        "bits flipped": flipped,
        "random bytes": lambda data, r: r.randbytes(200),
        "a zero byte": lambda data, r: inserted(data, r, b"\0"),
        "no UTF-8": lambda data, r: inserted(data, r, b"\xff\xfe\xfa"),
        "UTF-16": lambda data, r: data.decode("latin1").encode("utf-16"),
        "blank": lambda data, r: b" \n \n",
        "a piece twice": lambda data, r: inserted(data, r, data[: r.randrange(1, len(data))]),
        "a piece missing": lambda data, r: without_piece(data, r),
        "CR line ends": lambda data, r: data.replace(b"\n", b"\r"),
        "a BOM": lambda data, r: b"\xef\xbb\xbf" + data,
        "deep brackets": lambda data, r: b"[" * 100_000,
        "deep objects": lambda data, r: b'{"a":' * 100_000,
        "a number": lambda data, r: b"7",
        "null": lambda data, r: b"null",
        "a list": lambda data, r: b"[1, 2]\n",
        "a text": lambda data, r: b'"x"',
        "swapped lines": swapped,
        "quotes": lambda data, r: inserted(data, r, b'"'),
    }
    for name in names or tuple(ways):
        yield name, ways[name]


def flipped(data: bytes, r: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(r.choice((1, 3, 20))):
        changed[r.randrange(len(changed))] ^= 1 << r.randrange(8)
    return bytes(changed)


def inserted(data: bytes, r: random.Random, piece: bytes) -> bytes:
    at = r.randrange(len(data))
    return data[:at] + piece + data[at:]


def without_piece(data: bytes, r: random.Random) -> bytes:
    at = r.randrange(len(data))
    return data[:at] + data[at + r.randrange(1, 40) :]


def swapped(data: bytes, r: random.Random) -> bytes:
    lines = data.split(b"\n")
    r.shuffle(lines)
    return b"\n".join(lines)


def change_file(name: str, way: Callable[[bytes, random.Random], bytes]) -> Change:
    def change(folder: Path, r: random.Random) -> None:
        (folder / name).write_bytes(way((folder / name).read_bytes(), r))

    return change


ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    1e300,
    float("nan"),
    float("inf"),
    10**30,
    "",
    "x",
    "\ud7ff\u0000",
    [],
    {},
    [None],
    {"a": 1},
    "../../x",
    "${oc.env:HOME}",
    "-1",
    "1" * 5000,
)


def change_json(name: str) -> Change:
    """Give one value, anywhere in the file, for an odd one; or take a key away."""

    def change(folder: Path, r: random.Random) -> None:
        tree = json.loads((folder / name).read_text())
        change_tree(tree, r)
        (folder / name).write_text(json.dumps(tree))

    return change


def change_lines(name: str) -> Change:
    """The same in one line of a file of JSON objects."""

    def change(folder: Path, r: random.Random) -> None:
        lines = (folder / name).read_text().splitlines()
        at = r.randrange(len(lines))
        tree = json.loads(lines[at])
        change_tree(tree, r)
        lines[at] = json.dumps(tree)
        (folder / name).write_text("\n".join(lines) + "\n")

    return change


def change_tree(tree: Any, r: random.Random) -> None:
    places = list(_places(tree))
    node, key = r.choice(places)
    if isinstance(node, dict) and r.random() < 0.3:
        del node[key]
    else:
        node[key] = r.choice(ODD)


def _places(node: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Every value's place; the first 30 of a long list or table."""
    items = list(node.items() if isinstance(node, dict) else enumerate(node))
    for key, value in items[:30]:
        yield node, key
        if isinstance(value, dict | list) and depth < 6:
            yield from _places(value, depth + 1)


def change_yaml(name: str) -> Change:
    def change(folder: Path, r: random.Random) -> None:
        import yaml

        tree = yaml.safe_load((folder / name).read_text())
        change_tree(tree, r)
        (folder / name).write_text(yaml.safe_dump(tree, sort_keys=False))

    return change


# --- the kinds


def overrides(r: random.Random) -> Iterator[Case]:
    """Settings with wrong keys and values."""
    from llama_experiments.command_line.composition import compose_command
    from llama_experiments.config import leaves

    tree = compose_command([]).tree
    known = {key: value for key, value in leaves(tree).items() if not key.endswith("_target_")}
    groups = ("model", "task", "dataset", "technique", "training", "tracker", "sweep", "experiment", "tuning")
    while True:
        key, value = r.choice(list(known.items()))
        way = r.randrange(9)
        if way == 0:
            at = r.randrange(1, len(key))
            typo = key[:at] + r.choice("qxz") + key[at:]
            yield _override(f"{typo}={r.choice((1, 'x'))}", "a key's typo", "bad", typo, typo.partition(".")[0])
        elif way == 1:
            number = isinstance(value, int | float)
            odd = (
                r.choice(("word", "[1]", "{a:1}", "'a b'", "null", "1.5.2"))
                if number
                else r.choice(("[1]", "{a: 1}"))
            )
            sure = number or not isinstance(value, list | dict | None.__class__)
            nullable = odd == "null"
            yield _override(f"{key}={odd}", "a type", "bad" if sure and not nullable else "either", key)
        elif way == 2:
            odd = r.choice(("-1", "nan", "inf", "-inf", "1e400", "0", "-0.0", "9" * 40, "1e-400", "0x10", "1_000"))
            sure = odd in ("-1", "nan", "inf", "-inf", "1e400") and isinstance(value, int | float)
            sure = sure and not isinstance(value, bool)
            yield _override(f"{key}={odd}", "a number", "bad" if sure else "either", key, key.rpartition(".")[2])
        elif way == 3:
            odd = r.choice(
                ("[", "{", "'", '"', "\\", "a,b", "${", "${x", "${nothing.there}", "${oc.env:NOTHING}", "=", "(")
            )
            yield _override(f"{key}={odd}", "syntax", "either", key, "override")
        elif way == 4:
            group = r.choice(groups)
            choice = r.choice(
                ("nothing", "../config", "", "/etc/passwd", "null", "[a,b]", "full,lora", "x" * 300, ".")
            )
            yield _override(f"{group}={choice}", "a choice", "either", group)
        elif way == 5:
            word = r.choice(("training", "=1", "==", "+", "~", "~training", "training.=1", ".x=1", "a..b=1", "@x=1"))
            yield _override(word, "no override", "bad")
        elif way == 6:
            target = r.choice(
                (
                    "os.system",
                    "llama_experiments.",
                    "llama_experiments..x",
                    "llama_experiments.cli.main",
                    "",
                    "1",
                    "llama_experiments.errors.Mistake",
                    "llama_experiments.tasks.base.Task",
                )
            )
            group = r.choice(("model", "task", "dataset", "technique", "training", "tracker"))
            yield _override(f"{group}._target_={target}", "a target", "either", "_target_", group)
        elif way == 7:
            setting = r.choice(
                ("hydra.run.dir", "hydra.sweep.dir", "output_dir", "tracker.uri", "hydra.job.name", "seed")
            )
            odd = r.choice(
                ("/proc/x", "llama/config.json", "''", "http://[", "sqlite:///llama", "a" * 300, "bad://x")
            )
            yield _override(f"{setting}={odd}", "a place", "either")
        else:
            word = r.choice(
                (
                    "--cfg",
                    "--cfg=x",
                    "--multirun",
                    "--config-name=nothing",
                    "--config-dir=nothing",
                    "--config-path",
                    "--experimental-rerun=x",
                    "--info=x",
                    "--package=x",
                    "--plugin=x",
                    "--nothing",
                    "-z",
                    "--resolve",
                )
            )
            yield _override(word, "an option", "either")


def _override(word: str, what: str, expected: Expected, *hints: str) -> Case:
    return Case(name="", what=f"{what}: {word[:80]}", arguments=[*SMALL, word], expected=expected, hints=hints)


def configs(r: random.Random) -> Iterator[Case]:
    """Saved configs and files of groups."""
    saved = "outputs/2026-01-01/run1/.hydra/config.yaml"
    text = {
        "tabs": b"\tseed: 1\n",
        "an alias bomb": b"a: &a [x,x]\n" + b"".join(b"b%d: &b%d [*%s,*%s]\n" % (n, n, p, p) for n, p in bombs()),
        "a tag": b"x: !!python/object/apply:os.system ['touch ran']\n",
        "a hydra node": b"hydra: {callbacks: {x: {_target_: shutil.copy}}}\n",
        "two documents": b"a: 1\n---\nb: 2\n",
        "a merge key": b"<<: {seed: 1}\n",
        "a date": b"seed: 2026-99-99\n",
        "a key twice": b"seed: 1\n",
        "a list as key": b"? [a, b]\n: 1\n",
        "a number as key": b"1: 2\n",
        "null as key": b"~: 2\n",
    }
    while True:
        way = r.randrange(3)
        replay = ["--config-path", "outputs/2026-01-01/run1/.hydra", "hydra.run.dir=again"]
        if way == 0:
            name, change = r.choice(list(bytes_of()))
            yield Case(name="", what=f"saved config: {name}", arguments=replay, change=change_file(saved, change))
        elif way == 1:
            yield Case(name="", what="saved config: a value", arguments=replay, change=change_yaml(saved))
        else:
            what = r.choice(list(text))
            added = text[what]
            own = r.random() < 0.5
            file = "mine/technique/x.yaml" if own else saved
            arguments = ["--config-dir", "mine", "technique=x", *SMALL] if own else replay
            good = "either" if what in ("a merge key", "a key twice", "a date") else "bad"

            def change(folder: Path, _: random.Random, file: str = file, added: bytes = added) -> None:
                (folder / "mine" / "technique").mkdir(parents=True, exist_ok=True)
                path = folder / file
                start = (
                    path.read_bytes() if path.exists() else b"_target_: llama_experiments.techniques.base.Technique\n"
                )
                path.write_bytes(start + added)

            expected: Expected = "bad" if good == "bad" else "either"
            yield Case(name="", what=f"{file}: {what}", arguments=arguments, change=change, expected=expected)


def bombs() -> Iterator[tuple[int, bytes]]:
    """The levels of a tree of aliases, each twice as large as the one before."""
    for number in range(40):
        yield number, b"a" if number == 0 else b"b%d" % (number - 1)


FORMATS = ("rows.csv", "rows.tsv", "rows.json", "rows.jsonl", "rows.txt", "rows.parquet", "rows.csv.gz", "squad.json")
ALWAYS_BAD = ("empty", "random bytes", "blank", "deep brackets", "deep objects", "UTF-16", "a zero byte", "no UTF-8")


def data(r: random.Random) -> Iterator[Case]:
    """Data files of every format."""
    while True:
        file = r.choice(FORMATS)
        arguments = data_arguments(file)
        way = r.randrange(4)
        if way < 2:
            name, change = r.choice(list(bytes_of()))
            bad = name in ALWAYS_BAD and not (file == "rows.txt" and name.startswith("deep"))
            if file.endswith(("gz", "parquet")) and name in ("a zero byte", "no UTF-8"):
                bad = False  # in a byte that nobody reads, perhaps
            yield Case(
                name="",
                what=f"{file}: {name}",
                arguments=arguments,
                change=change_file(file, change),
                expected="bad" if bad else "either",
                hints=(file, "dataset"),
            )
        elif way == 2 and file.endswith(("json", "jsonl")):
            change_it = change_json(file) if file != "rows.jsonl" else change_lines(file)
            yield Case(
                name="", what=f"{file}: a value", arguments=arguments, change=change_it, hints=(file, "dataset")
            )
        elif way == 3 and file == "rows.parquet":
            yield Case(
                name="", what=f"{file}: odd types", arguments=arguments, change=odd_table, hints=(file, "dataset")
            )
        else:
            yield _odd_source(file, r)


def data_arguments(file: str) -> list[str]:
    """A run on a file."""
    if file == "squad.json":
        kind = ["task=question_answering", "dataset=local_squad"]
    elif file == "rows.txt":
        kind = ["task=text_generation", "dataset=local_text_generation", "task.max_length=64"]
    else:
        kind = REVIEWS
    return [*kind, *SMALL, f"dataset.train={file}", f"dataset.validation={file}"]


def _odd_source(file: str, r: random.Random) -> Case:
    word = r.choice(
        (
            "nothing.csv",
            "llama",
            "[]",
            "''",
            "*.none",
            "[rows.csv,rows.json]",
            "/proc/self/mem",
            "/dev/null",
            "~nobody/x.csv",
            "rows.csv/x",
            "llama/model.safetensors",
            "pkg://../../etc",
            "[rows.csv,null]",
        )
    )
    what = r.choice(
        (
            f"dataset.train={word}",
            "dataset.columns.text=nothing",
            "dataset.columns={}",
            "dataset.labels=[a,a]",
            "dataset.labels=[a,b]",
            "dataset.format=parquet",
            "dataset.format=squad",
            "dataset.columns.nothing=text",
            "dataset.train_examples=0",
            "dataset.validation_share=1",
            "dataset.columns.text=[text]",
        )
    )
    return Case(
        name="",
        what=what,
        arguments=[*REVIEWS, *SMALL, "dataset.train=rows.csv", "dataset.validation=rows.csv", what],
        expected="either" if what == "dataset.columns={}" else "bad",
        hints=("dataset",),
    )


def odd_table(folder: Path, r: random.Random) -> None:
    """A Parquet file whole in itself, of types that no text has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = r.choice(
        (
            {"text": pa.array([b"\xff\xfe"] * 40), "label": pa.array(["a", "b"] * 20)},
            {"text": pa.array([1, 2] * 20), "label": pa.array(["negative", "positive"] * 20)},
            {"text": pa.array([["a"], []] * 20), "label": pa.array([0, 1] * 20)},
            {"text": pa.array(["a", None] * 20), "label": pa.array([None, 1.5] * 20)},
            {"text": pa.array([{"bytes": b"x", "path": "/etc/hostname"}] * 40), "label": pa.array([0, 1] * 20)},
            {"text": pa.array([], pa.string()), "label": pa.array([], pa.string())},
            {"text": pa.array([None] * 40), "label": pa.array([None] * 40)},
            {"text": pa.array(["x" * 100_000] * 40), "label": pa.array([2**40, -1] * 20)},
        )
    )
    table = pa.table(columns)
    if r.random() < 0.4:
        features = {
            "text": {"_type": r.choice(("Image", "Audio", "Nothing", "Value", "ClassLabel"))},
            "label": {"_type": "x"},
        }
        told = r.choice((json.dumps({"info": {"features": features}}), "{", "null"))
        table = table.replace_schema_metadata({"huggingface": told})
    pq.write_table(table, folder / "rows.parquet")


MODEL = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")


def models(r: random.Random) -> Iterator[Case]:
    """Model folders."""
    arguments = [*LLAMA, *SMALL]
    files = [name for name in MODEL if (EMBEDDED / "model" / name).exists()]
    while True:
        way = r.randrange(4)
        file = r.choice(files)
        if way == 0:
            name, change = r.choice(list(bytes_of()))
            yield Case(
                name="", what=f"{file}: {name}", arguments=arguments, change=change_file(f"llama/{file}", change)
            )
        elif way == 1:
            yield Case(name="", what=f"{file}: a value", arguments=arguments, change=change_json(f"llama/{file}"))
        elif way == 2:
            name, change = r.choice(
                [*bytes_of("cut off", "empty", "random bytes", "a piece twice", "a piece missing")]
            )
            yield Case(
                name="",
                what=f"weights: {name}",
                arguments=arguments,
                expected="bad",
                hints=("llama",),
                change=change_file("llama/model.safetensors", change),
            )
        else:
            what, header = r.choice(list(HEADERS.items()))
            yield Case(
                name="",
                what=f"weights: {what}",
                arguments=arguments,
                expected="bad",
                hints=("llama",),
                change=change_header(header),
            )


def _first(header: dict[str, Any], **values: Any) -> dict[str, Any]:
    name = next(name for name in header if name != "__metadata__")
    return header | {name: header[name] | values}


HEADERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a shape": lambda header: _first(header, shape=[1, 2]),
    "a negative shape": lambda header: _first(header, shape=[-1]),
    "a huge shape": lambda header: _first(header, shape=[2**40, 2**40]),
    "an unknown type": lambda header: _first(header, dtype="Q9"),
    "another type": lambda header: _first(header, dtype="I8"),
    "offsets": lambda header: _first(header, data_offsets=[5, 1]),
    "offsets that are words": lambda header: _first(header, data_offsets=["a", "b"]),
    "no offsets": lambda header: _first(header, data_offsets=[]),
    "negative offsets": lambda header: _first(header, data_offsets=[-5, -1]),
    "a list": lambda header: [header],
    "a tensor that is null": lambda header: header | {list(header)[-1]: None},
    "no tensors": lambda header: {},
    "another name": lambda header: {f"x.{name}": told for name, told in header.items()},
    "metadata of numbers": lambda header: header | {"__metadata__": {"format": 1}},
    "metadata of another library": lambda header: header | {"__metadata__": {"format": "x"}},
}


def change_header(way: Callable[[dict[str, Any]], Any]) -> Change:
    def change(folder: Path, _: random.Random) -> None:
        file = folder / "llama" / "model.safetensors"
        data = file.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.dumps(way(json.loads(data[8 : 8 + size]))).encode()
        file.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])

    return change


RUN1, RUN2 = "outputs/2026-01-01/run1", "outputs/2026-01-01/run2"
OF_A_RUN = (
    "result.json",
    "environment.json",
    "run.json",
    "state.json",
    "movement.json",
    "epochs.jsonl",
    "steps.jsonl",
    "predictions.parquet",
    ".hydra/config.yaml",
    ".hydra/hydra.yaml",
    ".hydra/overrides.yaml",
)
VERBS = (["runs"], ["compare", RUN1, RUN2, "to=compared"], ["reproduce", RUN1, "hydra.run.dir=again"])


def runs(r: random.Random) -> Iterator[Case]:
    """Run folders, for every verb; and the verbs' own arguments."""
    while True:
        verb = r.choice(VERBS)
        file = f"{RUN1}/{r.choice(OF_A_RUN)}"
        way = r.randrange(5)
        if way == 0:
            name, change = r.choice(list(bytes_of()))
            yield Case(name="", what=f"{verb[0]}, {file}: {name}", arguments=verb, change=change_file(file, change))
        elif way == 1 and file.endswith(".json"):
            yield Case(name="", what=f"{verb[0]}, {file}: a value", arguments=verb, change=change_json(file))
        elif way == 1 and file.endswith(".jsonl"):
            yield Case(name="", what=f"{verb[0]}, {file}: a value", arguments=verb, change=change_lines(file))
        elif way == 2:
            yield Case(
                name="",
                what=f"{verb[0]}, {file}: gone",
                arguments=verb,
                change=lambda folder, _, file=file: (folder / file).unlink(),
            )
        elif way == 3:

            def change_kind(folder: Path, _: random.Random, file: str = file) -> None:
                (folder / file).unlink()
                (folder / file).mkdir()

            yield Case(name="", what=f"{verb[0]}, {file}: a folder", arguments=verb, change=change_kind)
        else:
            words = r.choice(WORDS_OF_VERBS)
            yield Case(name="", what=" ".join(words)[:80], arguments=words, expected="bad")


WORDS_OF_VERBS: tuple[list[str], ...] = (
    ["runs", "nothing"],
    ["runs", "limit=0"],
    ["runs", "limit=x"],
    ["runs", "state=x"],
    ["runs", "x=1"],
    ["runs", "rows.csv"],
    ["runs", "outputs", "outputs"],
    ["runs", "limit=\u00b2"],
    ["runs", "--x"],
    ["compare"],
    ["compare", RUN1],
    ["compare", RUN1, RUN1],
    ["compare", "nothing*"],
    ["compare", RUN1, "nothing"],
    ["compare", RUN1, RUN2, "to=rows.csv"],
    ["compare", "f" * 32, RUN1],
    ["compare", RUN1, RUN2, "to=/proc/x"],
    ["compare", RUN1, RUN2, "x=1"],
    ["reproduce"],
    ["reproduce", RUN1, RUN2],
    ["reproduce", "nothing"],
    ["reproduce", "f" * 32],
    ["reproduce", "rows.csv"],
    ["reproduce", "outputs"],
    ["reproduce", RUN1, "x=1"],
    ["reproduce", RUN1, "training.epochs=x"],
    ["reproduce", RUN1, "hydra.run.dir=rows.csv"],
    ["reproduce", "f" * 32, "tracker.uri=http://["],
    ["reproduce", "f" * 32, "tracker.uri=bad://x"],
    ["ui", "port=0"],
    ["ui", "port=x"],
    ["ui", "port=\u00b2"],
    ["ui", "tracker.uri=http://["],
    ["ui", "tracker.uri=bad://x"],
    ["ui", "x=1"],
    ["ui", "output_dir=rows.csv"],
    ["ui", "tracker.uri=sqlite:///rows.csv"],
    ["ui", "--x"],
    ["uii"],
    ["nothing"],
    ["runs", "x" * 300],
    ["compare", "x" * 300, RUN1],
    ["reproduce", "x" * 5000],
)

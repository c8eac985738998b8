"""n-gram models: memory, time to open and queries a second, beside KenLM.

python -m experiments.bench.ngram LM.arpa[.gz] TEXT [--kenlm-trie FILE] [--words N]
python -m experiments.bench.ngram --synthetic NGRAMS [--folder FOLDER]

The first form measures one model on a text, a sentence a line. KenLM's Python package makes its
probing model from an ARPA file; a trie is a KenLM binary made by `build_binary trie`. Memory is
that of a fresh process with the model, touched by the queries, less that of one without.

The second writes a random ARPA file of so many n-grams (200,000 words, orders 1 to 3), and says how
long it takes to read, and how much memory that and opening it again need.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lm.arpa import GZIP_MAGIC
from lm.errors import InputError
from lm.text import open_text

WORDS = 200_000  # of the synthetic model
ROUNDS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one of the two measurements."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("lm", nargs="?", type=Path, metavar="LM.arpa")
    parser.add_argument("text", nargs="?", type=Path, metavar="TEXT")
    parser.add_argument("--kenlm-trie", type=Path, metavar="FILE")
    parser.add_argument("--words", type=int, default=1_000_000, help="of the text, at most")
    parser.add_argument("--synthetic", type=int, metavar="NGRAMS")
    parser.add_argument("--folder", type=Path, help="for the synthetic model; default: temporary")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        print(json.dumps(CHILDREN[given.child](given.lm, given.text, given.words)))
        return 0
    if given.synthetic:
        return synthetic(given.synthetic, given.folder)
    if given.lm is None or given.text is None:
        raise InputError("give LM.arpa and TEXT, or --synthetic NGRAMS")
    return beside_kenlm(given.lm, given.text, given.words, given.kenlm_trie)


def sentences(path: Path, most: int) -> list[str]:
    """Lines of a text up to so many words."""
    found: list[str] = []
    words = 0
    with open_text(path) as lines:
        for line in lines:
            found.append(line.strip())
            words += len(line.split())
            if words >= most:
                break
    return found


def memory() -> float:
    """Resident memory of this process, MB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measured(opened: float, before: float, seconds: list[float], **more: Any) -> dict[str, Any]:
    """What a child process reports."""
    return {"opened": opened, "memory": memory() - before, "seconds": min(seconds), **more}


def ours(lm: Path, text: Path, words: int, quantise: bool = False) -> dict[str, Any]:
    """Our model: batched queries of whole texts, and the kernel alone."""
    from lm.ngram import NgramModel
    from lm.query import score_words

    lines = sentences(text, words)
    before, begun = memory(), time.perf_counter()
    model = NgramModel.load(lm, quantise)
    opened = time.perf_counter() - begun
    total, first = model.word_logprobs(lines)
    numbers = model.ids([w for line in lines for w in (*line.split(), "</s>")])
    out, batched, kernel = np.empty(len(numbers)), [], []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        model.word_logprobs(lines)
        batched.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        score_words(model.arrays, model.bos, numbers, first, out)
        kernel.append(time.perf_counter() - begun)
    size = sum(array.nbytes for array in model.arrays)
    facts = {"kernel": min(kernel), "bytes": size / model.arrays.nodes}
    return measured(opened, before, batched, total=float(total.sum()), queries=len(total), **facts)


def ours_in_8_bits(lm: Path, text: Path, words: int) -> dict[str, Any]:
    """The same with 8 bits for each value."""
    return ours(lm, text, words, quantise=True)


def kenlm_python(lm: Path, text: Path, words: int) -> dict[str, Any]:
    """KenLM through its Python package, a text a call."""
    import kenlm

    lines = sentences(text, words)
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    before, begun = memory(), time.perf_counter()
    model = kenlm.Model(str(lm), config)
    opened = time.perf_counter() - begun
    total = sum(map(model.score, lines)) * math.log(10)
    seconds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for line in lines:
            model.score(line)
        seconds.append(time.perf_counter() - begun)
    queries = sum(len(line.split()) + 1 for line in lines)
    return measured(opened, before, seconds, total=total, queries=queries)


CHILDREN = {"ours": ours, "ours-8": ours_in_8_bits, "kenlm": kenlm_python}


def child(kind: str, lm: Path, text: Path, words: int) -> dict[str, Any]:
    """Measures in a process of its own."""
    command = [sys.executable, "-m", "experiments.bench.ngram", "--child", kind]
    command += [str(lm), str(text), "--words", str(words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{kind}: {done.stderr.strip()[-400:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def beside_kenlm(lm: Path, text: Path, words: int, trie: Path | None) -> int:
    """Prints the table of one model."""
    with tempfile.TemporaryDirectory(prefix="secondpass-") as folder:
        plain = Path(folder) / "plain.arpa"
        with open(lm, "rb") as file:
            packed = file.read(2) == GZIP_MAGIC
        with gzip.open(lm) if packed else open(lm, "rb") as source, open(plain, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        os.environ["XDG_CACHE_HOME"] = folder
        rows = {"ours, from ARPA": child("ours", plain, text, words)}
        rows["ours, opened again"] = child("ours", plain, text, words)
        child("ours-8", plain, text, words)
        rows["ours in 8 bits, opened again"] = child("ours-8", plain, text, words)
        rows["kenlm probing, from ARPA"] = child("kenlm", plain, text, words)
        if trie is not None:
            rows["kenlm trie binary"] = child("kenlm", trie, text, words)
    table = Table(title=f"{lm.name}: {rows['ours, from ARPA']['queries']:,} queries, one thread")
    for heading in ("model", "opened in s", "memory MB", "bytes / n-gram", "M queries/s", "kernel"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    table.add_column("time / ours", justify="right")
    table.add_column("ln P", justify="right")
    base = rows["ours, opened again"]["seconds"]
    for name, row in rows.items():
        table.add_row(
            name,
            f"{row['opened']:.3f}",
            f"{row['memory']:.0f}",
            f"{row['bytes']:.1f}" if "bytes" in row else "",
            f"{row['queries'] / row['seconds'] / 1e6:.2f}",
            f"{row['queries'] / row['kernel'] / 1e6:.2f}" if "kernel" in row else "",
            f"{row['seconds'] / base:.2f}",
            f"{row['total']:.1f}",
        )
    Console(width=120).print(table)
    if trie is None:
        print("kenlm trie: skipped, no --kenlm-trie FILE")
    return 0


def synthetic(ngrams: int, folder: Path | None) -> int:
    """Writes, reads and opens a random model."""
    with tempfile.TemporaryDirectory(prefix="secondpass-", dir=folder) as made:
        path = Path(made) / "synthetic.arpa"
        counts = write_random(path, ngrams)
        print(f"{path.stat().st_size / 1e9:.2f} GB of ARPA text, n-grams {counts}")
        os.environ["XDG_CACHE_HOME"] = made
        (Path(made) / "text").write_text("w1 w2 w3\n")
        for again in ("read and compiled", "opened again"):
            command = [sys.executable, "-c", PEAK, str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, peak = map(float, done.stdout.split())
            print(f"{again}: {seconds:.3f} s, peak memory {peak:.0f} MB")
        (stored,) = (Path(made) / "secondpass" / "ngram").iterdir()
        size = stored.stat().st_size
        print(f"on disk {size / 1e6:.0f} MB, {size / sum(counts):.1f} bytes an n-gram")
    return 0


# A model opened in a process of its own.
PEAK = """
import re, sys, time
from lm.ngram import NgramModel
begun = time.perf_counter()
model = NgramModel.load(sys.argv[1])
model.word_logprobs(["w1 w2 w3"])
seconds = time.perf_counter() - begun
with open("/proc/self/status") as file:
    peak = re.search(r"VmHWM:\\s*(\\d+)", file.read())[1]
print(seconds, int(peak) / 1e3)
"""


def write_random(path: Path, ngrams: int) -> list[int]:
    """A random 3-gram model of WORDS words: a third of its n-grams are bigrams."""
    random = np.random.default_rng(0)
    pairs, triples = ngrams // 3, ngrams - ngrams // 3 - WORDS
    heads = np.unique(random.integers(3, WORDS, (pairs, 2)).astype(np.int64) @ [WORDS, 1])
    tails = np.unique(
        random.integers(0, len(heads), triples) * WORDS + random.integers(3, WORDS, triples)
    )
    counts = [WORDS, len(heads), len(tails)]
    names = np.array(["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(3, WORDS))])
    with open(path, "w", encoding="ascii") as file:
        file.write("\\data\\\n" + "".join(f"ngram {k}={n}\n" for k, n in enumerate(counts, 1)))
        file.write("\n\\1-grams:\n")
        file.writelines(f"-{5 + i % 7 / 8}\t{name}\t-0.25\n" for i, name in enumerate(names))
        file.write("\n\\2-grams:\n")
        for part in np.array_split(heads, len(heads) // 100_000 + 1):
            first, second = names[part // WORDS], names[part % WORDS]
            rows = zip(first, second, part % 997, strict=True)
            file.writelines(f"-{3 + i / 1000}\t{a} {b}\t-0.125\n" for a, b, i in rows)
        file.write("\n\\3-grams:\n")
        for part in np.array_split(tails, len(tails) // 100_000 + 1):
            head = heads[part // WORDS]
            first, second, third = names[head // WORDS], names[head % WORDS], names[part % WORDS]
            triples_of = zip(first, second, third, part % 997, strict=True)
            file.writelines(f"-{1 + i / 1000}\t{a} {b} {c}\n" for a, b, c, i in triples_of)
        file.write("\n\\end\\\n")
    return counts


if __name__ == "__main__":
    raise SystemExit(main())

"""n-gram models: memory, time to open and queries a second, beside KenLM.

python -m experiments.bench.ngram LM.arpa[.gz] TEXT [--kenlm-trie FILE] [--words N]
python -m experiments.bench.ngram --synthetic NGRAMS [--folder FOLDER]

The first form measures one model on a text with one sentence a line, each way in its own process.
KenLM's Python package makes its probing model from an ARPA file; a trie is a KenLM binary made by
`build_binary trie`. Times are processor times on one thread, the best of several rounds.
Memory is how much more the process has after it has opened the model and scored the text.

The second form writes a random ARPA file with NGRAMS n-grams (200,000 words, orders 1 to 4, in no
order). It prints how long reading takes, and how much memory reading and opening again need.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lm.errors import InputError
from lm.files import cache_home
from lm.ngram.arpa import open_arpa
from lm.ngram.batch_query import score_in_lanes, score_in_turn
from lm.ngram.model import NgramModel
from lm.ngram.words import number_texts
from lm.text.prose import open_text

WORDS = 200_000  # words of the synthetic model
SHARES = (0.15, 0.35, 0.5)  # shares of its 2-grams, 3-grams and 4-grams
ROUNDS = 5
LINES = 100_000  # lines that are written at a time


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one of the two measurements."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("lm", nargs="?", type=Path, metavar="LM.arpa")
    parser.add_argument("text", nargs="?", type=Path, metavar="TEXT")
    parser.add_argument("--kenlm-trie", type=Path, metavar="FILE")
    parser.add_argument(
        "--words",
        type=int,
        default=1_000_000,
        help="words of the text, at most (default: 1,000,000)",
    )
    parser.add_argument("--synthetic", type=int, metavar="NGRAMS")
    parser.add_argument(
        "--folder", type=Path, help="folder for the synthetic model (default: a temporary one)"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        lines = sentences(given.text, given.words) if given.text else ["w3 w4 w5"]
        print(json.dumps(CHILDREN[given.child](given.lm, lines)))
        return 0
    if given.synthetic:
        return synthetic(given.synthetic, given.folder)
    if given.lm is None or given.text is None:
        raise InputError("nothing to measure; give LM.arpa and TEXT, or --synthetic NGRAMS")
    return beside_kenlm(given.lm, given.text, given.words, given.kenlm_trie)


def sentences(path: Path, most: int) -> list[str]:
    """The first lines of a text, with `most` words or slightly more in all."""
    found: list[str] = []
    words = 0
    with open_text(path) as lines:
        for line in lines:
            found.append(line.strip())
            words += len(line.split())
            if words >= most:
                break
    return found


def resident() -> float:
    """Memory of this process, MB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak() -> float:
    """The most memory that this process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def best_of_rounds(run: Callable[[], object]) -> float:
    """Processor seconds of the fastest of several rounds."""
    seconds = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        run()
        seconds.append(time.process_time() - begun)
    return min(seconds)


def ours(lm: Path, lines: list[str], quantise: bool = False) -> dict[str, Any]:
    """Our model: whole texts, word numbers in a batch, and word numbers one by one."""
    before, begun = resident(), time.perf_counter()
    model = NgramModel.load(lm, quantise)
    opened = time.perf_counter() - begun
    total = float(model.word_logprobs(lines)[0].sum())
    memory, most = resident() - before, peak()
    numbers, first, _ = number_texts(model.words, lines, model.unknown, model.eos)
    out = np.empty(len(numbers))
    score_in_turn(model.arrays, model.bos, numbers, first, out)
    return {
        "opened": opened,
        "memory": memory,
        "peak": most,
        "bytes": sum(array.nbytes for array in model.arrays) / model.arrays.nodes,
        "texts": best_of_rounds(lambda: model.word_logprobs(lines)),
        "lanes": best_of_rounds(
            lambda: score_in_lanes(model.arrays, model.bos, numbers, first, out)
        ),
        "scalar": best_of_rounds(
            lambda: score_in_turn(model.arrays, model.bos, numbers, first, out)
        ),
        "total": total,
        "queries": len(numbers),
        "ngrams": model.arrays.nodes,
    }


def ours_in_8_bits(lm: Path, lines: list[str]) -> dict[str, Any]:
    """The same with 8 bits for each value."""
    return ours(lm, lines, quantise=True)


def kenlm_python(lm: Path, lines: list[str]) -> dict[str, Any]:
    """KenLM through its Python package, a text a call."""
    import kenlm

    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    before, begun = resident(), time.perf_counter()
    model = kenlm.Model(str(lm), config)
    opened = time.perf_counter() - begun
    total = sum(map(model.score, lines)) * math.log(10)
    return {
        "opened": opened,
        "memory": resident() - before,
        "texts": best_of_rounds(lambda: [model.score(line) for line in lines]),
        "total": total,
        "queries": sum(len(line.split()) + 1 for line in lines),
    }


CHILDREN = {"ours": ours, "ours-8": ours_in_8_bits, "kenlm": kenlm_python}


def child(kind: str, lm: Path, text: Path | None = None, words: int = 0) -> dict[str, Any]:
    """Measures in a new process."""
    command = [sys.executable, "-m", "experiments.bench.ngram", "--child", kind, str(lm)]
    command += [str(text), "--words", str(words)] if text else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{kind}: {done.stderr.strip()[-400:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def apart(folder: str) -> None:
    """Moves the cache of models to a folder; machine code stays in the usual cache."""
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_home() / "kernels" / "bench"))
    os.environ["XDG_CACHE_HOME"] = folder


def beside_kenlm(lm: Path, text: Path, words: int, trie: Path | None) -> int:
    """Prints the table of one model."""
    with tempfile.TemporaryDirectory(prefix="secondpass-") as folder:
        plain = Path(folder) / "plain.arpa"
        with open_arpa(lm) as source, open(plain, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        small = Path(folder) / "small.arpa"
        write_random(small, 2, words=8)
        apart(folder)
        for kind in ("ours", "ours-8"):
            child(kind, small)  # compiles the machine code, so that the next processes do not
        rows = {"ours, from ARPA": child("ours", plain, text, words)}
        rows["ours, again"] = child("ours", plain, text, words)
        rows["8 bits, from ARPA"] = child("ours-8", plain, text, words)
        rows["8 bits, again"] = child("ours-8", plain, text, words)
        rows["kenlm probing"] = child("kenlm", plain, text, words)
        if trie is not None:
            rows["kenlm trie"] = child("kenlm", trie, text, words)
    base = rows["ours, again"]
    table = Table(title=f"{lm.name}, {base['ngrams']:,} n-grams, {base['queries']:,} queries")
    headings = ("model", "opened in s", "memory MB", "bytes / n-gram", "texts", "lanes", "scalar")
    for heading in (*headings, "time / ours", "ln P"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for name, row in rows.items():
        size = row.get("bytes", row["memory"] * 1e6 / base["ngrams"])
        rates = (f"{row['queries'] / row[way] / 1e6:.1f}" if way in row else "" for way in WAYS)
        ratio = f"{row['texts'] / base['texts']:.2f}"
        facts = (f"{row['opened']:.3f}", f"{row['memory']:.0f}", f"{size:.1f}")
        table.add_row(name, *facts, *rates, ratio, f"{row['total']:.1f}")
    Console(width=120).print(table)
    print("texts, lanes, scalar: million queries a second from text, in lanes, and one by one.")
    if trie is None:
        print("kenlm trie: skipped, no --kenlm-trie FILE")
    return 0


WAYS = ("texts", "lanes", "scalar")


def synthetic(ngrams: int, folder: Path | None) -> int:
    """Writes, reads and opens a random model."""
    with tempfile.TemporaryDirectory(prefix="secondpass-", dir=folder) as made:
        path = Path(made) / "synthetic.arpa"
        counts = write_random(path, ngrams)
        total = sum(counts)
        print(f"{path.stat().st_size / 1e9:.2f} GB of ARPA text, n-grams {counts}")
        apart(made)
        for kind in ("ours", "ours-8"):
            for again in ("read", "opened again"):
                row = child(kind, path)
                print(
                    f"{kind}, {again}: {row['opened']:.3f} s, peak memory {row['peak']:.0f} MB, "
                    f"{row['peak'] * 1e6 / total:.0f} bytes an n-gram; "
                    f"the arrays {row['bytes']:.1f} bytes an n-gram"
                )
    return 0


def write_random(path: Path, ngrams: int, words: int = WORDS) -> list[int]:
    """Writes a random 4-gram model, the lines of each section in no order.

    Frequent words, and frequent contexts, have more n-grams than others, as in models of text.
    """
    random = np.random.default_rng(0)
    names = np.array(["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(3, words))])
    levels: list[np.ndarray] = []  # of each n-gram: number of its context · words + last word
    contexts = words
    for share in SHARES:
        keys = np.zeros(0, np.int64)
        while len(keys) < share * ngrams:
            count = int(share * ngrams) - len(keys) + 1000
            last = 3 + (random.random(count) ** 3 * (words - 3)).astype(np.int64)
            context = (random.random(count) ** 2 * contexts).astype(np.int64)
            keys = np.unique(np.concatenate([keys, context * words + last]))
        levels.append(keys)
        contexts = len(keys)
    counts = [words, *map(len, levels)]
    with open(path, "w", encoding="ascii") as file:
        file.write("\\data\\\n" + "".join(f"ngram {k}={n}\n" for k, n in enumerate(counts, 1)))
        file.write("\n\\1-grams:\n")
        file.writelines(f"-{5 + i % 7 / 8}\t{name}\t-0.25\n" for i, name in enumerate(names))
        for k, keys in enumerate(levels):
            file.write(f"\n\\{k + 2}-grams:\n")
            order = random.permutation(len(keys))
            for start in range(0, len(order), LINES):
                node = rows = order[start : start + LINES]
                columns: list[np.ndarray] = []
                for level in levels[k::-1]:
                    columns.insert(0, names[level[node] % words])
                    node = level[node] // words
                grams = map(" ".join, zip(names[node], *columns, strict=True))
                backoff = "\t-0.125\n" if k + 1 < len(levels) else "\n"
                numbered = zip((1000 + rows % 997).tolist(), grams, strict=True)
                file.writelines(f"-{number / 1000}\t{gram}{backoff}" for number, gram in numbered)
        file.write("\n\\end\\\n")
    return counts


if __name__ == "__main__":
    raise SystemExit(main())

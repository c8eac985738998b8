"""N-best lists as other toolkits write them.

Every reader takes a file or folder and a manifest (None where none was given) and gives lists
whose one score is `acoustic`, a natural log; a format that has no scores gives 0, so that the
order of the lists alone counts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from asr.corpus import Utterance, read_corpus
from asr.foreign import Imported, distinct, imported, keyed, lines_of, read_json, score_of
from asr.nbest import Hypothesis
from lm.errors import InputError

ESPNET_FOLDER = re.compile(r"(\d+)best_recog")
NUMBERED = re.compile(r"(.+)-(\d+)")
ICEFALL = re.compile(r"(.+):\t(ref|hyp)=(.*)")
HYPOTHESIS = re.compile(r"hyp_(\d+)")


def read_espnet(folder: Path, manifest: Path | None = None) -> Imported:
    """ESPnet's decoding folder, `output.N/{K}best_recog/{text,score}` below it.

    The score is what its beam search ranks by: the weighted sum of its scorers' log-probs.
    """
    found: dict[str, dict[int, tuple[str, float]]] = {}
    places = [
        (int(match[1]), place)
        for place in sorted(folder.glob("**/*best_recog"))
        if (match := ESPNET_FOLDER.fullmatch(place.name))
    ]
    if not places:
        raise InputError(f"{folder}: no output.N/1best_recog below it; give ESPnet's decode folder")
    for rank, place in places:
        texts = {utt: text for utt, text, _ in keyed(place / "text")}
        for utt, score, where in keyed(place / "score"):
            if utt not in texts:
                raise InputError(f"{where}: utterance {utt} has no line in {place / 'text'}")
            if rank in found.setdefault(utt, {}):
                raise InputError(f"{where}: utterance {utt} occurs twice; keep one of them")
            found[utt][rank] = (texts[utt], score_of(score, where))
        unscored = next((utt for utt in texts if rank not in found.get(utt, {})), None)
        if unscored is not None:
            raise InputError(f"{place / 'score'}: no score of utterance {unscored}, which has text")
    return imported(folder, in_order(folder, found), {})


def read_nemo(path: Path, manifest: Path | None = None) -> Imported:
    """NeMo's `preds_out_*.tsv` (eval_beamsearch_ngram_ctc.py): `text TAB score` a line.

    The lines are the beams of the manifest's utterances in its order, best first, without ids.
    Lists of one length are told apart by their number; lists of several lengths by where the
    score rises, which must be as often as there are utterances.

    Raises:
        InputError: There is no manifest, or the lines cannot be told apart.
    """
    if manifest is None:
        raise InputError(f"{path}: NeMo's file has no ids; give the manifest with --manifest")
    utterances = read_corpus(manifest)
    rows: list[tuple[str, float]] = []
    for line, where in lines_of(path):
        text, tab, score = line.rpartition("\t")
        if not tab:
            raise InputError(f"{where}: no tab; each line is a text, a tab and its score")
        rows.append((text, score_of(score.strip(), where)))
    begins = nemo_begins([score for _, score in rows], len(utterances))
    if begins is None:
        raise InputError(
            f"{path}: {len(rows)} lines cannot be the lists of the {len(utterances)} utterances of "
            f"{manifest}; is it the manifest that was decoded?"
        )
    ends = [*begins[1:], len(rows)]
    lists = {
        utterance.id: distinct(rows[begin:end], f"{path}, utterance {utterance.id}")
        for utterance, begin, end in zip(utterances, begins, ends, strict=True)
    }
    return imported(path, lists, texts_of(utterances))


def nemo_begins(scores: list[float], utterances: int) -> list[int] | None:
    """Where the lists of so many utterances begin; None where that cannot be said."""
    rises = [n for n in range(1, len(scores)) if scores[n] > scores[n - 1]]
    size, over = divmod(len(scores), max(utterances, 1))
    if size and not over and all(n % size == 0 for n in rises):
        return list(range(0, len(scores), size))
    return [0, *rises] if len(rises) + 1 == utterances else None


def read_kaldi(path: Path, manifest: Path | None = None) -> Imported:
    """Kaldi's N-best text: `UTT-K words…`, K from 1.

    A folder as steps/rnnlmrescore.sh leaves it has `words_text` (else `text`), and costs by
    `UTT-K` in `acwt` (acoustic) and `lmwt.withlm` (else `lmwt.nolm`, graph and LM). Costs are
    negative natural logs; `acoustic` is minus the sum of those that are there.
    """
    texts, costs = path, []
    if path.is_dir():
        texts = next((path / n for n in ("words_text", "text") if (path / n).is_file()), path)
        if texts == path:
            raise InputError(f"{path}: no words_text or text in it; give Kaldi's N-best text file")
        graph = next((n for n in ("lmwt.withlm", "lmwt.nolm") if (path / n).is_file()), None)
        costs = [path / name for name in ("acwt", graph) if name and (path / name).is_file()]
    scores: dict[str, float] = {}
    for file in costs:
        for key, cost, where in keyed(file):
            scores[key] = scores.get(key, 0.0) - score_of(cost, where)
    found: dict[str, dict[int, tuple[str, float]]] = {}
    for key, text, where in keyed(texts):
        match = NUMBERED.fullmatch(key)
        if match is None:
            raise InputError(f"{where}: {key!r} is not UTT-K, K the hypothesis's number from 1")
        if costs and key not in scores:
            raise InputError(f"{where}: {key} has no cost in {costs[0]}")
        ranks = found.setdefault(match[1], {})
        if int(match[2]) in ranks:
            raise InputError(f"{where}: {key} occurs twice; keep one of them")
        ranks[int(match[2])] = (text, scores.get(key, 0.0))
    return imported(path, in_order(path, found), {})


def read_icefall(path: Path, manifest: Path | None = None) -> Imported:
    """icefall's `recogs-*.txt`: `CUT:TABref=[…]` and `CUT:TABhyp=[…]`, lists of words (1-best)."""
    found: dict[str, dict[str, str]] = {}
    for line, where in lines_of(path):
        match = ICEFALL.fullmatch(line)
        if match is None:
            if ":\ttimestamp_" in line:
                continue
            raise InputError(f"{where}: not CUT:TABref=… or CUT:TABhyp=…")
        try:
            words = ast.literal_eval(match[3])
        except (ValueError, SyntaxError):
            words = match[3]  # a version that writes the text itself
        text = words if isinstance(words, str) else " ".join(map(str, words))
        if match[2] in found.setdefault(match[1], {}):
            raise InputError(f"{where}: {match[2]} of {match[1]} occurs twice; keep one of them")
        found[match[1]][match[2]] = text
    without = next((utt for utt, both in found.items() if "hyp" not in both), None)
    if without is not None:
        raise InputError(f"{path}: cut {without} has no hyp=; is the file whole?")
    lists = {utt: [Hypothesis(" ".join(both["hyp"].split()), 0.0)] for utt, both in found.items()}
    return imported(path, lists, {u: both["ref"] for u, both in found.items() if "ref" in both})


def read_wenet(path: Path, manifest: Path | None = None) -> Imported:
    """WeNet's decoder_main with --output_nbest: `wav UTT`, then `candidate SCORE TEXT` lines.

    The score is a natural log, after rescoring the weighted sum of CTC and attention. An utterance
    without candidates has the empty text. recognize.py writes the best text only: `--format text`.
    """
    lists: dict[str, list[tuple[str, float]]] = {}
    current: list[tuple[str, float]] | None = None
    for kind, rest, where in keyed(path):
        if kind == "wav" and rest:
            if rest in lists:
                raise InputError(f"{where}: utterance {rest} occurs twice; keep one of them")
            current = lists[rest] = []
        elif kind == "candidate" and current is not None and rest:
            score, *text = rest.split(maxsplit=1)
            current.append(("".join(text), score_of(score, where)))
        else:
            raise InputError(
                f"{where}: neither `wav UTT` nor a `candidate SCORE TEXT` after one; decode with "
                "--output_nbest, or use --format text"
            )
    found = {utt: distinct(one or [("", 0.0)], f"{path}, {utt}") for utt, one in lists.items()}
    return imported(path, found, {})


def read_mlm_scoring(path: Path, manifest: Path | None = None) -> Imported:
    """mlm-scoring's JSON (Shin et al. 2019; Salazar et al. 2020).

    {UTT: {"hyp_1": {"text", "score"}, "hyp_2": …, "ref"}}; the score is the first pass's log-prob.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: not an object of utterances")
    found: dict[str, dict[int, tuple[str, float]]] = {}
    references = {}
    for utt, entry in content.items():
        where = f"{path}, utterance {utt}"
        try:
            found[utt] = {
                int(match[1]): (str(hypothesis["text"]), float(hypothesis["score"]))
                for name, hypothesis in entry.items()
                if (match := HYPOTHESIS.fullmatch(name))
            }
            if "ref" in entry:
                references[utt] = str(entry["ref"]).strip()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where}: not {{hyp_K: {{text, score}}, ref}} ({error})") from error
    return imported(path, in_order(path, found), references)


def read_hypo2trans(path: Path, manifest: Path | None = None) -> Imported:
    """Hypo2Trans' and HyPoradise's JSON: a list of {"input": [hypotheses], "output": reference}.

    Also the older {"input1": best, "input2": "second. third. …", "output"}, of which the first is
    read, for the others cannot be told apart. There are no scores and no ids: ids are the
    manifest's, in its order, or `NAME-000001` after the file's name. `<UNK>` is an empty text.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise InputError(f"{path}: not a list of objects with input and output")
    ids = [f"{path.name.split('.')[0]}-{number:06d}" for number in range(1, len(content) + 1)]
    if manifest is not None:
        ids = [utterance.id for utterance in read_corpus(manifest)]
        if len(ids) != len(content):
            raise InputError(f"{path}: {len(content)} entries, {manifest} has {len(ids)}")
    lists, references = {}, {}
    for number, (utt, entry) in enumerate(zip(ids, content, strict=True), 1):
        where = f"{path}, entry {number}"
        said = entry.get("input", entry.get("input1")) if isinstance(entry, dict) else None
        texts = [said] if isinstance(said, str) else said
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{where}: no list of texts named input")
        lists[utt] = distinct([(without_mark(text), 0.0) for text in texts], where)
        if isinstance(entry.get("output"), str):
            references[utt] = without_mark(entry["output"])
    return imported(path, lists, references)


def without_mark(text: str) -> str:
    """The text; empty where only the mark of an empty one stands."""
    return "" if text.strip() == "<UNK>" else text


def texts_of(utterances: Iterable[Utterance]) -> dict[str, str]:
    """The references of a manifest."""
    return {u.id: u.text for u in utterances if u.text is not None}


def in_order(path: Path, found: dict[str, dict[int, tuple[str, float]]]) -> dict:
    """Hypotheses by utterance, in the order of their numbers."""
    return {
        utt: distinct([ranks[rank] for rank in sorted(ranks)], f"{path}, utterance {utt}")
        for utt, ranks in found.items()
    }

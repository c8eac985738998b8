"""N-best lists as other toolkits write them, line by line.

Every reader takes a file or folder and a manifest, or None. It returns lists whose score is
`acoustic`, a natural log. For a format without scores it is 0, so that only the order of the
hypotheses counts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from asr.corpus import Utterance, read_corpus
from asr.formats.records import (
    Candidate,
    Lists,
    in_order,
    keyed,
    keyed_once,
    lines_of,
    new_list,
    number_of,
    utt_of,
)
from lm.errors import InputError

ESPNET_FOLDER = re.compile(r"(\d+)best_recog")
ESPNET_TOKENS = "token_int"
NEMO_BEAM = re.compile(r"preds_out_(?:width|size)(\d+)_")
# No leading zeros: 61-70968-0000 is an utterance, not hypothesis 0 of an utterance.
NUMBERED = re.compile(r"(.+)-([1-9]\d*)")
ICEFALL = re.compile(r"(.+?):\t(ref|hyp)=(.*)")


def read_espnet(folder: Path, manifest: Path | None = None) -> Lists:
    """ESPnet's decoding folder, `output.N/{K}best_recog/{text,score,token_int}` below it.

    The score is what its beam search ranks by: the weighted sum of its scorers' log-probs. Where
    there are `token_int` files, the column `tokens` has the number of tokens of each hypothesis.
    ESPnet writes no score, or no text, of an utterance on which its search failed; such an
    utterance is left out.
    """
    found: dict[str, dict[int, Candidate]] = {}
    places = [
        (int(match[1]), place)
        for place in sorted(folder.glob("**/*best_recog"))
        if (match := ESPNET_FOLDER.fullmatch(place.name))
    ]
    if not places:
        raise InputError(f"{folder}: no output.N/1best_recog below it; use ESPnet's decode folder")
    failures: dict[str, str] = {}
    names = ["text", "score", *_espnet_tokens([place for _, place in places])]
    for rank, place in places:
        files = {name: keyed_once(place / name) for name in names}
        for utt in dict.fromkeys(utt for lines in files.values() for utt in lines):
            if rank in found.setdefault(utt, {}):
                raise InputError(f"{place}: utterance {utt} occurs twice; keep one of the folders")
            lacking = next((name for name, lines in files.items() if utt not in lines), None)
            if lacking is not None:
                failures.setdefault(utt, f"{place / lacking}: no line of utterance {utt}")
                continue
            try:
                found[utt][rank] = _espnet_candidate(
                    utt, {name: lines[utt] for name, lines in files.items()}
                )
            except InputError as error:
                failures.setdefault(utt, str(error))
    return Lists(folder, in_order(found), failures=failures)


def _espnet_tokens(places: list[Path]) -> list[str]:
    """The name of the file that lists a hypothesis's tokens, if the folders have it.

    Raises:
        InputError: Some folders have it and others do not.
    """
    without = [place for place in places if not (place / ESPNET_TOKENS).is_file()]
    if without and len(without) < len(places):
        raise InputError(
            f"{without[0]}: {ESPNET_TOKENS} is missing, and other folders have it; copy it, or "
            f"remove {ESPNET_TOKENS} from all folders"
        )
    return [] if without else [ESPNET_TOKENS]


def _espnet_candidate(utt: str, lines: dict[str, tuple[str, str]]) -> Candidate:
    """A hypothesis from its line in each file, which comes with the line's place.

    Raises:
        InputError: A token is not a number.
    """
    text, (score, where) = lines["text"][0], lines["score"]
    if ESPNET_TOKENS not in lines:
        return Candidate(text, score, f"{where}, utterance {utt}")
    printed, place = lines[ESPNET_TOKENS]
    tokens = printed.split()
    wrong = next((token for token in tokens if not token.isdecimal()), None)
    if wrong is not None:
        raise InputError(
            f"{place}, utterance {utt}: token {wrong[:40]!r} is not a number; the line must be the "
            "utterance's id and its tokens' numbers"
        )
    return Candidate(text, score, f"{where}, utterance {utt}", {"tokens": len(tokens)})


def read_nemo(path: Path, manifest: Path | None = None) -> Lists:
    """NeMo's `preds_out_*.tsv` (eval_beamsearch_ngram_ctc.py): `text TAB score` a line.

    The lines are the beams of the manifest's utterances in its order, best first, without ids. The
    score is what the beam search ranks by, CTC with the weighted n-gram model and word bonus.
    If all lists have one length, or that of the beam in the file's name, their number says where
    they begin. Otherwise a list begins where the score rises, and the number of such places must
    be that of the utterances.

    Raises:
        InputError: There is no manifest, or it is not clear where the lists begin.
    """
    if manifest is None:
        raise InputError(f"{path}: NeMo's file has no ids; add the manifest with --manifest")
    utterances = read_corpus(manifest)
    rows: list[Candidate] = []
    for line, where in lines_of(path):
        text, tab, score = line.rpartition("\t")
        if not tab:
            raise InputError(f"{where}: there is no tab; each line is a text, a tab and its score")
        rows.append(Candidate(text, score.strip(), where))
    beam = int(match[1]) if (match := NEMO_BEAM.match(path.name)) else None
    begins: list[int] | None
    if beam and len(rows) == beam * len(utterances):
        begins = list(range(0, len(rows), beam))
    else:
        scores = [number_of(row.score, row.where) for row in rows]
        begins = nemo_begins(scores, len(utterances), beam)
    if begins is None:
        most = f", at most {beam} of each" if beam else ""
        raise InputError(
            f"{path}: {len(rows)} lines cannot be the lists of the {len(utterances)} utterances of "
            f"{manifest}{most}; is it the manifest that was decoded, and is the file complete?"
        )
    ends = [*begins[1:], len(rows)]
    lists = {
        utterance.id: rows[begin:end]
        for utterance, begin, end in zip(utterances, begins, ends, strict=True)
    }
    return Lists(path, lists, texts_of(utterances))


def nemo_begins(scores: list[float], utterances: int, beam: int | None) -> list[int] | None:
    """Where the lists of the utterances begin; None if that is not clear.

    Args:
        scores: Scores of all hypotheses.
        utterances: Number of utterances.
        beam: Length of the longest list; None if it is not known.
    """
    rises = [n for n in range(1, len(scores)) if scores[n] > scores[n - 1]]
    size, over = divmod(len(scores), max(utterances, 1))
    if size and not over and all(n % size == 0 for n in rises):
        begins = list(range(0, len(scores), size))
    elif scores and len(rises) + 1 == utterances:
        begins = [0, *rises]
    else:
        return None
    longest = max(b - a for a, b in zip(begins, [*begins[1:], len(scores)], strict=True))
    return None if beam and longest > beam else begins


def read_kaldi(path: Path, manifest: Path | None = None) -> Lists:
    """Kaldi's N-best text: `UTT-K words…`, K from 1.

    A folder that steps/rnnlmrescore.sh made (or its `archives.N`) has `words_text` (else `text`)
    and costs by `UTT-K`, which are negative natural logs: minus `acwt` is `acoustic`, and minus
    `lmwt.withlm` (else `lmwt`), of graph and language model, is `ngram`. Neither is scaled, because
    lattice-to-nbest removes its scales. So the order of a list is that of --acoustic-scale times
    `acoustic` plus `ngram`.
    """
    archives = sorted(path.glob("archives.*")) if path.is_dir() else []
    found: dict[str, dict[int, Candidate]] = {}
    failures: dict[str, str] = {}
    for place in archives or [path]:
        texts = _one_of(place, "words_text", "text") if place.is_dir() else place
        if texts is None:
            raise InputError(f"{place}: no words_text or text in it; use Kaldi's N-best text file")
        acoustic = _kaldi_costs(_one_of(place, "acwt"))
        graph = _kaldi_costs(_one_of(place, "lmwt.withlm", "lmwt"))
        for key, (text, where) in keyed_once(texts).items():
            match = NUMBERED.fullmatch(key)
            if match is None:
                raise InputError(
                    f"{where}: {key!r} is not UTT-K, K the hypothesis's number from 1; a text "
                    "with one line an utterance is --format text"
                )
            utt, rank = match[1], int(match[2])
            if rank in found.setdefault(utt, {}):
                raise InputError(f"{where}: {key} occurs twice; keep one of them")
            try:
                scores = [_kaldi_score(costs, key, where) for costs in (acoustic, graph)]
            except InputError as error:
                failures.setdefault(utt, str(error))
                scores = [0.0, 0.0]
            found[utt][rank] = Candidate(text, scores[0], where, {"ngram": scores[1]})
    return Lists(path, in_order(found), failures=failures)


def _kaldi_costs(file: Path | None) -> dict[str, tuple[str, str]] | None:
    """Costs by `UTT-K` with their places; None if there is no file."""
    return None if file is None else keyed_once(file)


def _kaldi_score(costs: dict[str, tuple[str, str]] | None, key: str, where: str) -> float:
    """Minus a cost; 0 if there are no costs.

    Raises:
        InputError: A hypothesis has no cost, or it is not a number.
    """
    if costs is None:
        return 0.0
    if key not in costs:
        raise InputError(f"{where}: {key} has no cost among acwt and lmwt")
    cost, at = costs[key]
    return 0.0 - number_of(cost, f"{at}, {key}", "cost")


def _one_of(folder: Path, *names: str) -> Path | None:
    """The first of these files that exists."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_icefall(path: Path, manifest: Path | None = None) -> Lists:
    """icefall's `recogs-*.txt`: `CUT:TABref=[…]` and `CUT:TABhyp=[…]`, lists of words (1-best)."""
    found: dict[str, dict[str, str]] = {}
    failures: dict[str, str] = {}
    for line, where in lines_of(path):
        match = ICEFALL.fullmatch(line)
        if match is None:
            if ":\ttimestamp_" in line:
                continue
            raise InputError(f"{where}: not CUT:TABref=… or CUT:TABhyp=…")
        cut, kind = utt_of(match[1], where), match[2]
        if kind in found.setdefault(cut, {}):
            raise InputError(f"{where}: {kind} of {cut} occurs twice; keep one of the lines")
        found[cut][kind] = ""
        try:
            found[cut][kind] = _icefall_text(match[3], where)
        except InputError as error:
            failures.setdefault(cut, str(error))
    for cut, both in found.items():
        if "hyp" not in both:
            failures.setdefault(cut, f"{path}: cut {cut} has no hyp=; is the file complete?")
    lists = {
        cut: [Candidate(both.get("hyp"), 0.0, f"{path}, utterance {cut}")]
        for cut, both in found.items()
    }
    references = {cut: both["ref"] for cut, both in found.items() if "ref" in both}
    return Lists(path, lists, references, failures)


def _icefall_text(printed: str, where: str) -> str:
    """The words of a printed list; some versions print the text itself.

    Raises:
        InputError: A list is not complete.
    """
    if not printed.startswith("["):
        return printed.strip("'\"") if printed[:1] in ("'", '"') else printed
    try:
        return " ".join(str(word) for word in ast.literal_eval(printed))
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise InputError(f"{where}: {printed[:200]!r} is not a complete list of words") from error


def read_wenet(path: Path, manifest: Path | None = None) -> Lists:
    """WeNet's decoder_main with --output_nbest: `wav UTT`, then `candidate SCORE TEXT` lines.

    The score is a natural log; after rescoring it is the weighted sum of CTC and attention. An
    utterance without candidates has an empty text. recognize.py writes the best text only, which
    `--format text` reads.
    """
    lists: dict[str, list[Candidate]] = {}
    current: list[Candidate] | None = None
    utt = ""
    for kind, rest, where in keyed(path):
        if kind == "wav" and rest:
            utt, current = rest, new_list(lists, rest, where)
        elif kind == "candidate" and current is not None and rest:
            score, *text = rest.split(maxsplit=1)
            current.append(Candidate("".join(text), score, f"{where}, utterance {utt}"))
        else:
            raise InputError(
                f"{where}: neither `wav UTT` nor a `candidate SCORE TEXT` after one; decode with "
                "--output_nbest, or use --format text"
            )
    silent = [Candidate("", 0.0, str(path))]
    return Lists(path, {utt: one or silent for utt, one in lists.items()})


def texts_of(utterances: Iterable[Utterance]) -> dict[str, str]:
    """The references of a manifest."""
    return {u.id: u.text for u in utterances if u.text is not None}

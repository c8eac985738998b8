"""Scores kept between runs: what is found again, what is not, and what damage does."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.cli import main
from experiments.comparison.second_pass import score_scope
from lm.cache import CachedScorer, text_keys
from lm.cache_file import ScoreCache
from lm.errors import InputError
from lm.files import SCORES
from lm.scorer import Progress, ScorerOptions, Scores, TextError, Texts
from tests.support.data import PROJECT

WRITER = """
import sys, numpy as np
from lm.cache import text_keys
from lm.cache_file import ScoreCache
from lm.scorer import Scores, Texts
cache = ScoreCache.open(sys.argv[1])
for start in range(0, 3000, 100):
    texts = [f"text {i}" for i in range(start, start + 100)]
    values = -np.arange(start, start + 100, dtype=float)
    cache.add("shared", text_keys(Texts(texts)), Scores(values, np.full(100, 3)))
    own = text_keys(Texts([f"{sys.argv[2]} {t}" for t in texts]))
    cache.add("shared", own, Scores(values, np.full(100, 4)))
"""


class Letters:
    """A scorer that is easy to check: a text's score depends on its letters and its context.

    Attributes:
        seen: the texts that it was asked for, call by call.
        fails: a text at which it stops.
    """

    def __init__(self, fails: str | None = None) -> None:
        self.seen: list[list[str]] = []
        self.fails = fails

    def score(self, batch: Texts | Sequence[str], progress: Progress | None = None) -> Scores:
        batch = Texts.of(batch)
        self.seen.append(list(batch.texts))
        if self.fails in batch.texts:
            raise TextError(list(batch.texts).index(self.fails or ""), self.fails or "", "is bad")
        if progress is not None:
            for _ in batch.texts:
                progress(1)
        values = [letters(text, batch.context(i)) for i, text in enumerate(batch.texts)]
        return Scores(np.array(values), np.array([len(text) for text in batch.texts]))

    @property
    def asked(self) -> list[str]:
        """All texts that it was asked for."""
        return [text for call in self.seen for text in call]


def letters(text: str, context: tuple[str, ...] = ()) -> float:
    """What `Letters` gives a text."""
    if text == "impossible":
        return -np.inf
    return -float(sum(map(ord, text))) - 0.001 * sum(map(len, context))


def no_model() -> Letters:
    """Stands in for a model that must not be loaded."""
    raise AssertionError("the model was loaded")


@pytest.fixture
def cache(tmp_path: Path) -> ScoreCache:
    return ScoreCache.open(tmp_path / "scores.sqlite")


def test_a_second_run_loads_no_model_and_gives_the_same(cache: ScoreCache) -> None:
    texts = ["a b", "", "impossible", "ü 語 \ud800", "a b"]
    done: list[int] = []
    first = CachedScorer(Letters, "m", cache).score(texts, done.append)
    again = CachedScorer(no_model, "m", ScoreCache.open(cache.path)).score(texts, done.append)
    for scores in (first, again):
        assert scores.logprob.tolist() == [letters(text) for text in texts]
        assert scores.tokens.tolist() == [len(text) for text in texts]
        assert scores.tokens.dtype == np.int64
    assert sum(done) == 2 * len(texts)
    assert done[-1] == len(texts)  # reported at once
    assert CachedScorer(no_model, "m", cache).score([]).logprob.shape == (0,)


def test_only_what_is_missing_is_scored_and_equal_texts_once(cache: ScoreCache) -> None:
    CachedScorer(Letters, "m", cache).score(["a", "c"])
    model, done = Letters(), []
    lists = np.array([0, 0, 0, 1, 1])
    batch = Texts(["d", "a", "b", "b", "c"], None, lists)
    scorer = CachedScorer(lambda: model, "m", cache)
    scores = scorer.score(batch, done.append)
    assert model.asked == ["d", "b"]
    assert sum(done) == 5
    assert scores.logprob.tolist() == [letters(text) for text in batch.texts]
    scorer.score(["new"])
    assert model.asked == ["d", "b", "new"]


def test_scope_and_context_distinguish(cache: ScoreCache) -> None:
    contexts = [(), ("a",), ("a", "b"), ("ab",), ("a b",), ("b", "a"), ("",), ('a", "b',)]
    batch = Texts(["x"] * len(contexts), contexts)
    assert len(set(text_keys(batch))) == len(contexts)
    model = Letters()
    scores = CachedScorer(lambda: model, "m", cache).score(batch)
    assert scores.logprob.tolist() == [letters("x", context) for context in contexts]
    assert len(model.asked) == len(contexts)
    CachedScorer(no_model, "m", cache).score(batch.chosen([2, 0]))
    other = Letters()
    CachedScorer(lambda: other, "m2", cache).score(["x"])
    assert other.asked == ["x"]
    assert text_keys(Texts(["x"])) == text_keys(Texts(["x"], [()]))


def test_lists_are_scored_whole_where_a_score_depends_on_them(cache: ScoreCache) -> None:
    batch = Texts(["a", "b", "a", "c"], None, np.array([7, 7, 8, 8]))
    model = Letters()
    CachedScorer(lambda: model, "m", cache, by_list=True).score(batch)
    assert model.asked == ["a", "b", "a", "c"]
    CachedScorer(no_model, "m", cache, by_list=True).score(batch.chosen([2, 3, 0, 1]))
    for changed in (batch.chosen([0]), batch.chosen([1, 0]), Texts(["d", "e"])):
        fresh = Letters()
        CachedScorer(lambda fresh=fresh: fresh, "m", cache, by_list=True).score(changed)
        assert fresh.asked == list(changed.texts)
    # One text of a list is gone: the whole list is scored again.
    keys = text_keys(batch, by_list=True)
    with sqlite3.connect(cache.path) as connection:
        connection.execute("DELETE FROM scores WHERE key = ?", (keys[1],))
    again = Letters()
    found = CachedScorer(lambda: again, "m", cache, by_list=True).score(batch)
    assert again.asked == ["a", "b"]
    assert found.logprob.tolist() == [letters(text) for text in batch.texts]


def test_what_was_scored_before_an_error_is_kept(cache: ScoreCache) -> None:
    texts = [f"text {i}" for i in range(3000)]
    with pytest.raises(TextError, match=r"^text 2500: 'text 2500' is bad$") as raised:
        CachedScorer(lambda: Letters("text 2500"), "m", cache).score(texts)
    assert raised.value.index == 2500
    rest = Letters()
    scores = CachedScorer(lambda: rest, "m", cache).score(texts)
    assert scores.logprob.tolist() == [letters(text) for text in texts]
    assert 500 <= len(rest.asked) <= 2500
    assert rest.asked == texts[-len(rest.asked) :]


def test_errors_name_the_place_among_all_texts(cache: ScoreCache) -> None:
    CachedScorer(Letters, "m", cache).score(["a", "b"])
    with pytest.raises(TextError, match=r"^text 3: ") as raised:
        CachedScorer(lambda: Letters("bad"), "m", cache).score(["a", "c", "b", "bad"])
    assert raised.value.index == 3
    assert raised.value.reason == "'bad' is bad"


def test_what_is_no_log_prob_is_not_kept(cache: ScoreCache) -> None:
    keys = text_keys(Texts(["a", "b", "c"]))
    cache.add("m", keys, Scores(np.array([np.nan, np.inf, -np.inf]), np.array([1, 1, 1])))
    assert np.isnan(cache.find("m", keys).logprob).tolist() == [True, True, False]


def test_texts_are_scored_by_number_with_lists_whole(cache: ScoreCache) -> None:
    texts = [f"{i}" for i in range(5000)]
    alone, listed = Letters(), Letters()
    CachedScorer(lambda: alone, "alone", cache).score(texts)
    assert [len(call) for call in alone.seen] == [2048, 2048, 904]
    lists = np.arange(5000) // 300
    batch = Texts(texts, None, lists)
    CachedScorer(lambda: listed, "listed", cache, texts_at_once=1000).score(batch)
    assert [len(call) for call in listed.seen] == [900] * 5 + [500]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SECONDPASS_SCORES": "/a/scores.db", "XDG_CACHE_HOME": "/b"}, "/a/scores.db"),
        ({"SECONDPASS_SCORES": "", "XDG_CACHE_HOME": "/b"}, "/b/secondpass/scores.sqlite"),
    ],
)
def test_the_environment_says_where_scores_are_kept(
    variables: dict[str, str], expected: str
) -> None:
    found = subprocess.run(
        [sys.executable, "-c", "from lm.files import SCORES; print(SCORES)"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
    )
    assert found.stdout.strip() == expected


def test_no_test_touches_the_scores_of_other_runs() -> None:
    assert str(SCORES) == os.environ["SECONDPASS_SCORES"]


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stderr=subprocess.PIPE)
        for name in ("one", "two")
    ]
    for writer in writers:
        assert writer.communicate()[1] == b""
        assert writer.returncode == 0
    texts = [f"text {i}" for i in range(3000)]
    found = ScoreCache.open(path)
    for prefix, tokens in (("", 3), ("one ", 4), ("two ", 4)):
        scores = found.find("shared", text_keys(Texts([prefix + text for text in texts])))
        assert scores.logprob.tolist() == [-float(i) for i in range(3000)]
        assert (scores.tokens == tokens).all()
    assert [scope.scores for scope in found.scopes()] == [9000]
    assert os.listdir(path.parent) == ["scores.sqlite"]


@pytest.mark.parametrize("content", [b"", b"no database", b"no database" * 1000])
def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scores.sqlite"
    for number in (1, 2):
        path.write_bytes(content)
        with pytest.warns(
            UserWarning, match=rf"renamed to scores.sqlite.damaged-{number}, and a new"
        ):
            cache = ScoreCache.open(path)
        assert Path(f"{path}.damaged-{number}").read_bytes() == content
        CachedScorer(Letters, "m", cache).score(["a"])
        CachedScorer(no_model, "m", cache).score(["a"])


@pytest.mark.parametrize("log", [False, True])
def test_damage_in_use_costs_scores_and_no_more(tmp_path: Path, log: bool) -> None:
    """Any part of the file may be overwritten: scores are right, or are computed again."""
    rng = np.random.default_rng(1)
    texts = [f"text {i}" for i in range(4000)]
    right = [letters(text) for text in texts]
    noticed = 0
    for trial in range(8):
        path = tmp_path / f"{trial}.sqlite"
        cache = ScoreCache.open(path)
        CachedScorer(Letters, "m", cache).score(texts)
        if log:  # of a process that still has the file
            Path(f"{path}-wal").write_bytes(rng.bytes(5000))
        content = bytearray(path.read_bytes())
        start = int(rng.integers(0, len(content) // 4096)) * 4096
        content[start : start + 4096] = rng.bytes(len(content[start : start + 4096]))
        path.write_bytes(content[: rng.integers(start + 1, len(content) + 1)])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scores = CachedScorer(Letters, "m", cache).score(texts)
            assert scores.logprob.tolist() == right
            again = CachedScorer(no_model, "m", cache).score(texts)
            assert again.logprob.tolist() == right
        noticed += bool(caught)
        assert all("renamed to" in str(warning.message) for warning in caught)
        assert Path(f"{path}.damaged-1").exists() == bool(caught)
    assert noticed > 4


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE contacts (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(InputError, match="a database of something else; name another file"):
        ScoreCache.open(path)
    assert path.read_bytes() == before


def test_work_goes_on_where_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "scores.sqlite"):
        with pytest.warns(UserWarning, match="cannot be used .*, so scores are not kept"):
            cache = ScoreCache.open(path)
            scores = CachedScorer(Letters, "m", cache).score(["a"])
        assert scores.logprob.tolist() == [letters("a")]
        with pytest.raises(InputError, match="cannot be used"):
            cache.scopes()


def test_many_are_found(cache: ScoreCache) -> None:
    keys = text_keys(Texts([f"text {i}" for i in range(100_000)]))
    values = -np.arange(100_000, dtype=float)
    cache.add("m", keys, Scores(values, np.ones(100_000, dtype=np.int64)))
    batch = Texts([f"text {i}" for i in range(26_000)])
    scores = CachedScorer(no_model, "m", cache).score(batch)
    assert scores.logprob.tolist() == values[:26_000].tolist()


@pytest.fixture
def filled(cache: ScoreCache) -> ScoreCache:
    """A cache of three scopes, one of them old."""
    for scope, count in (
        ('gpt2 {"eos": true, "model": "0123"}', 30),
        ('gpt2 {"eos": false, "model": "0123"}', 20),
        ('other {"eos": true, "model": "4567"}', 10),
    ):
        CachedScorer(Letters, scope, cache).score([f"{i}" for i in range(count)])
    with sqlite3.connect(cache.path) as connection:
        connection.execute("UPDATE scopes SET used = used - 10 * 86400 WHERE scope LIKE 'other%'")
    return cache


def test_the_command_lists(filled: ScoreCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "--file", str(filled.path)]) == 0
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert [[cell.strip() for cell in row][1:4] for row in rows] == [
        ["gpt2", "eos false", "20"],
        ["gpt2", "", "30"],
        ["other", "", "10"],
    ]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--prune-days", "5"], {20, 30}),
        (["--prune-days", "50"], {10, 20, 30}),
        (["--remove", "gpt2"], {10}),
        (["--remove", "4567"], {20, 30}),
        (["--remove", 'gpt2 {"eos": true, "model": "0123"}'], {10, 20}),
        (["--clear"], set()),
    ],
)
def test_the_command_removes(filled: ScoreCache, options: list[str], left: set[int]) -> None:
    assert main(["cache", "--file", str(filled.path), *options]) == 0
    assert {scope.scores for scope in filled.scopes()} == left


def test_a_model_is_removed_by_its_path_or_hub_name(cache: ScoreCache, tmp_path: Path) -> None:
    models = [tmp_path / run / "lm" for run in ("one", "two")]
    for folder in models:
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text(str(folder))
    for number, model in enumerate([*map(str, models), "somebody/lm"], 1):
        scope = score_scope(model, ScorerOptions(dtype="float32"))
        CachedScorer(Letters, scope, cache).score([str(i) for i in range(number)])
    for model, left in ((str(models[1]), {1, 3}), ("somebody/lm", {1})):
        assert main(["cache", "--file", str(cache.path), "--remove", model]) == 0
        assert {scope.scores for scope in cache.scopes()} == left


def test_one_line_is_removed_by_its_id(
    filled: ScoreCache, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["cache", "--file", str(filled.path)])
    line = next(line for line in capsys.readouterr().out.splitlines() if "eos false" in line)
    assert main(["cache", "--file", str(filled.path), "--remove", line.split("│")[1].strip()]) == 0
    assert {scope.scores for scope in filled.scopes()} == {10, 30}


def test_removal_frees_the_disk(cache: ScoreCache) -> None:
    CachedScorer(Letters, "m", cache).score([f"{i}" for i in range(5000)])
    before = cache.path.stat().st_size
    cache.remove([scope.number for scope in cache.scopes()])
    assert cache.path.stat().st_size < before / 5


def test_scores_of_another_version_are_not_used_and_pruned(
    cache: ScoreCache, capsys: pytest.CaptureFixture[str]
) -> None:
    CachedScorer(Letters, "m", replace(cache, version=0)).score(["a"])
    model = Letters()
    CachedScorer(lambda: model, "m", cache).score(["a"])
    assert model.asked == ["a"]
    main(["cache", "--file", str(cache.path)])
    assert "of another version" in capsys.readouterr().out
    main(["cache", "--file", str(cache.path), "--prune-days", "5"])
    assert [scope.current for scope in cache.scopes()] == [True]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--file", "nowhere.sqlite"], "there is no such file of scores"),
        (["--remove", "bert"], "nothing of that name"),
        (["--prune-days", "-1"], "use 0 or more"),
    ],
)
def test_wrong_commands(
    filled: ScoreCache, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "--file", str(filled.path), *options]) == 2
    assert says in capsys.readouterr().err

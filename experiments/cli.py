"""The command `secondpass SUB …`: every subcommand is one file in this folder."""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import importlib.metadata
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from lm.errors import InputError, SecondpassError

# A new command is one file with `add_arguments(parser)` and `run(arguments)`, and one line here.
# Modules are imported only when their command runs: importing torch takes seconds.
COMMANDS = {
    "compare": "run all stages of an experiment and print a table of its systems",
    "transcribe": "recognise audio files",
    "emit": "acoustic stage: audio to CTC log-probabilities",
    "decode": "first pass: CTC log-probabilities to N-best lists",
    "rescore": "second pass: add the scores of one model to an N-best table",
    "correct": "second pass: an instruction model reads the N-best lists and answers",
    "tune": "choose weights on development data",
    "choose": "a transcript for every utterance by MAP, minimum Bayes risk or vote",
    "score": "word error rates of N-best tables",
    "import-nbest": "read N-best lists of other systems",
    "export": "write transcripts and N-best lists for other tools",
    "ngram": "estimate, mix, prune or convert n-gram language models",
    "prepare-text": "normalise running text, one sentence a line",
    "truecase": "learn upper and lower case from text",
    "train-acoustic": "train or fine-tune an acoustic model",
    "train-lm": "train or fine-tune a causal language model",
    "train-rescorer": "train a causal language model on N-best lists for fewer word errors",
    "configs": "list the bundled experiments, copy one, print the schema of the settings",
    "cache": "list or remove the scores that are kept between runs",
    "report": "results folders as one HTML page, or their table as Markdown, LaTeX or CSV",
    "doctor": "what is installed, which devices are used, what would run",
}
QUIET, VERBOSE = ("-q", "--quiet"), ("-v", "--verbose")
FULL = (errno.ENOSPC, errno.EDQUOT)  # such errors name no file
DONE, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
LOG = logging.getLogger("secondpass")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Returns:
        0 done, 1 some utterances failed (they were listed), 2 bad usage or input, 130 interrupted.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in (*QUIET, *VERBOSE):  # `secondpass -v compare` is `secondpass compare -v`
        argv = [*argv[1:2], argv[0], *argv[2:]] if argv[1:] else []
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return DONE if argv else BAD_INPUT
    if argv[0] == "--version":
        print(f"secondpass {importlib.metadata.version('secondpass')}")
        return DONE
    name = argv[0]
    if name not in COMMANDS:
        near = nearest(name, COMMANDS) or "; `secondpass --help` lists the commands"
        print(f"secondpass: there is no command {name!r}{near}", file=sys.stderr)
        return BAD_INPUT
    try:
        return run(name, argv[1:])
    except InputError as error:
        print(f"secondpass {name}: {error}", file=sys.stderr)
        return BAD_INPUT
    except SecondpassError as error:
        print(f"secondpass {name}: {error}", file=sys.stderr)
        return SOME_FAILED
    except BrokenPipeError:  # the reader of the output has ended, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED
    except OSError as error:
        if error.filename is None and error.errno not in FULL:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"secondpass {name}: {where}{error.strerror}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        kept = "; finished stages are kept" if name == "compare" else ""
        print(f"secondpass {name}: interrupted{kept}", file=sys.stderr)
        return INTERRUPTED


def run(name: str, argv: Sequence[str]) -> int:
    """Parses the arguments of one command and runs it.

    Raises:
        InputError: The command's input is wrong.
    """
    module = importlib.import_module(f"experiments.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        prog=f"secondpass {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # an override such as --out.x must not be taken for an option
    )
    module.add_arguments(parser)
    shown = parser.add_argument_group("what is printed").add_mutually_exclusive_group()
    shown.add_argument(*QUIET, action="store_true", help="print results, warnings and errors only")
    shown.add_argument(*VERBOSE, action="store_true", help="print details and library messages")
    arguments, rest = parser.parse_known_args(argv)
    options = [option for option in parser._option_string_actions if option.startswith("--")]
    if rest and not hasattr(arguments, "overrides"):
        parser.error(f"there is no option {rest[0]!r}{nearest(rest[0].split('=')[0], options)}")
    if rest:
        arguments.overrides = [*arguments.overrides, *rest]
    level = logging.WARNING if arguments.quiet else logging.INFO
    with messages(logging.DEBUG if arguments.verbose else level):
        try:
            return int(module.run(arguments))
        except InputError as error:
            keys = (item.split("=")[0] for item in rest if item.startswith("--"))
            near = next(filter(None, (nearest(key, options) for key in keys)), "")
            raise (InputError(f"{error}{near}") if near else error) from error


@contextmanager
def messages(level: int) -> Iterator[None]:
    """Prints the log from a level on to standard error while a command runs.

    Below the level DEBUG, messages of the libraries about their own work are left out: nobody who
    runs a command can act on them.
    """
    if level > logging.DEBUG:  # before transformers is imported, which takes seconds
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    if level > logging.INFO:
        os.environ.setdefault("TQDM_DISABLE", "1")
    handler = logging.StreamHandler()
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOG.addHandler(handler)
    before = LOG.level
    LOG.setLevel(logging.DEBUG)  # a log file takes everything
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        LOG.setLevel(before)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` where a known name is close to what was given, else nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"; did you mean {found[0]!r}?" if found else ""


def overview() -> str:
    """The list of commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "secondpass: two-stage speech recognition with LLM rescoring",
            "",
            "usage: secondpass COMMAND …      options of a command: secondpass COMMAND --help",
            "       secondpass --version",
            "",
            *lines,
            "",
            "Without arguments, `secondpass compare` runs the bundled demo.",
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main())

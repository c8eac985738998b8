"""N-best lists as questions to an instruction model, hypotheses as its replies.

The chat template is the checkpoint's own. `lm.neural.correction` uses questions and replies.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lm.errors import InputError
from lm.neural.control_tokens import ControlTokens
from lm.neural.encoding import Encoder, Sequences
from lm.scorer import ScorerOptions, TextError, Texts

LOG = logging.getLogger("secondpass")
HYPOTHESES = "{hypotheses}"
# What the model is asked. {hypotheses} becomes the list, numbered, best first; {count} its length.
PROMPT = """\
A speech recogniser heard one utterance and wrote down the {count} most likely transcriptions, the \
most likely first. Words may be wrong in all of them.

{hypotheses}

Write the transcription of what was said, in the same spelling as above. Write it on one line and \
write nothing else."""
# What ends the prompt of a model without a chat template, and what an answer to it begins with.
PLAIN_ENDING, PLAIN_LEAD = "\n\nTranscription:", " "

TOKENS_MORE = 16  # a free answer may have 1.5 × the tokens of the longest hypothesis and these
MARK = "REPLY"  # stands for the reply where a chat template is taken apart


@dataclass(frozen=True)
class ChatEncoder(Encoder):
    """Texts as an assistant's replies to the prompt that shows their list.

    Attributes:
        prompt: prompt with `{hypotheses}`.
        most: number of hypotheses that are shown, best first.
        plain: whether the prompt is used as it is, without a chat template.
        lead: text that the template puts before a reply.
        trail: text that the template puts after a reply, before the end of the turn.
        end: token id of the end of the turn; None if only the trail ends it.
    """

    prompt: str
    most: int
    plain: bool
    lead: str
    trail: str
    end: int | None

    @classmethod
    def of(
        cls, encoder: Encoder, prompt: str = PROMPT, most: int = 10, plain: bool = False
    ) -> ChatEncoder:
        """Takes the tokenizer's chat template apart.

        Raises:
            InputError: There is no template, or it cannot be used; or the prompt lacks its
                placeholder.
        """
        if HYPOTHESES not in prompt:
            raise InputError(
                f"the prompt has no {HYPOTHESES}, which becomes the N-best list; add it"
            )
        if most < 1:
            raise InputError(f"{most} hypotheses in the prompt: show at least 1")
        tokenizer = copy.copy(encoder.tokenizer)
        controls = ControlTokens.of(tokenizer)
        # The control tokens that `sanitize_control_tokens` of a chat template leaves to characters.
        tokenizer.chat_control_tokens = list(controls.names.values())
        if named := controls.spelled_in(prompt):
            LOG.warning(
                f"the prompt contains {', '.join(named)}, which the model reads as characters and "
                "not as control tokens"
            )
        of = (encoder.name, tokenizer, encoder.context, encoder.vocabulary_size)
        if plain:
            return cls(*of, prompt, most, True, PLAIN_LEAD, "\n", None)
        if not getattr(encoder.tokenizer, "chat_template", None):
            raise InputError(
                f"{encoder.name}: its tokenizer has no chat template, so it is not an instruction "
                "model; give one, or use a plain prompt (--plain)"
            )
        try:
            asked = _rendered(encoder.tokenizer, "Q")
            whole = _rendered(encoder.tokenizer, "Q", MARK)
            at = whole.rindex(MARK)
        # A template is a program and may fail in any way.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{encoder.name}: its chat template takes no question and answer ({reason}); use a "
                "plain prompt (--plain)"
            ) from error
        lead = whole[len(asked) : at] if whole.startswith(asked) else ""
        trail, end = _end_of_turn(encoder.tokenizer, whole[at + len(MARK) :])
        return cls(*of, prompt, most, False, lead, trail, end)

    def encode(self, batch: Texts, options: ScorerOptions) -> Sequences:
        """Sequences of a prompt and a reply each; the reply and its end are scored.

        Options and earlier texts are not used.

        Raises:
            TextError: Prompt and reply are longer than the model's context.
        """
        replies = [f"{self.lead}{text}{self.trail}" for text in batch.texts]
        spelled = self._ids(Texts(replies), set())
        numbers = np.arange(len(batch)) if batch.lists is None else batch.lists
        lists: dict[int, list[str]] = {}
        for number, text in zip(numbers.tolist(), batch.texts, strict=True):
            lists.setdefault(number, []).append(text)
        prompts: dict[int, list[int]] = {}
        for number, texts in lists.items():
            try:
                prompts[number] = self.prompt_ids(texts)
            except InputError as error:
                first_of_list = numbers.tolist().index(number)
                raise TextError(first_of_list, texts[0], str(error)) from error
        end = [] if self.end is None else [self.end]
        ids, first = [], []
        for index, (number, reply) in enumerate(zip(numbers.tolist(), replies, strict=True)):
            before, own = prompts[number], [*spelled[reply], *end]
            if self.context is not None and len(before) + len(own) - 1 > self.context:
                raise TextError(index, batch.texts[index], self.too_long(len(before), len(own)))
            ids.append(np.array([*before, *own], dtype=np.int32))
            first.append(len(before))
        self._check_known(ids)
        return Sequences(ids, np.array(first, dtype=np.int64), np.arange(len(ids)))

    def prompt_ids(self, texts: Sequence[str]) -> list[int]:
        """Ids of the prompt for a list, up to where the reply begins.

        Characters of a hypothesis that look like a special token are taken as characters.
        """
        shown = texts[: self.most]
        numbered = "\n".join(f"{i}. {' '.join(text.split())}" for i, text in enumerate(shown, 1))
        # The count is filled in first: a hypothesis may contain what looks like a placeholder.
        content = self.prompt.replace("{count}", str(len(shown))).replace(HYPOTHESES, numbered)
        if self.plain:
            return [self._boundaries(False)[0], *self._tokenize([content + PLAIN_ENDING])[0]]
        settings = {"tokenize": True, "return_dict": False, "sanitize_control_tokens": True}
        messages = [{"role": "user", "content": content}]
        try:
            return list(_template(self.tokenizer, messages, add_generation_prompt=True, **settings))
        # The tokenizer has a control token among the pieces of plain text.
        except ValueError as error:
            spelled = [text for text in shown if self.controls.spelled_in(text)]
            if not spelled:
                raise
            named = ", ".join(self.controls.spelled_in(" ".join(spelled)))
            raise InputError(
                f"has a hypothesis that spells {named} ({spelled[0][:60]!r}), which the tokenizer "
                f"of {self.name} takes for a control token; remove it from the text"
            ) from error

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        """Token ids; the control tokens that a template puts around a reply stay what they are."""
        around = self.lead + self.trail
        if not self.controls.spelled_in(around):
            return super()._tokenize(texts)
        found = self.controls.encode_as_written(texts)
        for index, text in enumerate(texts):
            if not (text.startswith(self.lead) and text.endswith(self.trail)):
                found[index] = self.controls.encode([text])[0]
                continue
            inner = text.removeprefix(self.lead).removesuffix(self.trail)
            if self.controls.spelled_in(inner):
                lead, trail = self.controls.encode_as_written([self.lead, self.trail])
                found[index] = [*lead, *self.controls.encode([inner])[0], *trail]
        return found

    def question(self, texts: Sequence[str]) -> tuple[list[int], int]:
        """A list's prompt, and how many tokens a free answer to it may have.

        Raises:
            InputError: The model cannot read both.
        """
        different = list(dict.fromkeys(texts))
        prompt = self.prompt_ids(different)
        most = int(1.5 * max(map(len, self._tokenize(different)))) + TOKENS_MORE
        if self.context is not None and len(prompt) + most - 1 > self.context:
            raise InputError(self.too_long(len(prompt), most))
        self._check_known([np.array(prompt)])
        return prompt, most

    def too_long(self, prompt: int, reply: int) -> str:
        """The reason why prompt and reply cannot be read, with their numbers of tokens."""
        return (
            f"has a prompt of {prompt:,} tokens and a reply of {reply:,}, and {self.name} can read "
            f"{self.context:,}; show fewer hypotheses (--hypotheses), shorten the prompt, or use a "
            "model of longer context"
        )


def _template(tokenizer: Any, messages: list[dict[str, str]], **settings: Any) -> Any:
    # Models that think before they answer should not do so; other templates ignore this.
    return tokenizer.apply_chat_template(messages, enable_thinking=False, **settings)


def _rendered(tokenizer: Any, question: str, answer: str | None = None) -> str:
    """A conversation as text, up to where the answer begins or with it."""
    messages = [{"role": "user", "content": question}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    text: str = _template(tokenizer, messages, add_generation_prompt=answer is None, tokenize=False)
    return text


def _end_of_turn(tokenizer: Any, after: str) -> tuple[str, int | None]:
    """The text between a reply and the token that ends the turn, and the id of that token."""
    added = {token.content: i for i, token in tokenizer.added_tokens_decoder.items()}
    found = [(after.index(t), -len(t), t) for t in added if t in after and not t.isspace()]
    if not found:
        # Not every template closes the last turn, but a model ends it.
        return "", tokenizer.eos_token_id
    at, _, token = min(found)
    return after[:at], added[token]

"""How likely a causal language model finds each of several continuations of one beginning, exactly and in few passes.

The continuations are laid end to end behind their beginning and told apart by a column beside the tokens. In the pass
every one is a sequence of its own, without its last token, after which nothing is asked; those that differ in that
token alone share one. Continuations of a single token cost one sequence in all.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llama_experiments.errors import UserError
from llama_experiments.tasks.language_modelling import LOGITS_AT_ONCE
from llama_experiments.tasks.trunk import hidden_states

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclasses.dataclass(frozen=True)
class Choice:
    """A beginning and its continuations, as tokens."""

    ids: list[int]
    branch: list[int]  # for each token the number of its continuation, from 1, or 0 where it is of the beginning
    start: int  # the first scored token: later ones of the beginning are of every continuation

    @property
    def beginning(self) -> list[int]:
        """What all have in common."""
        return [token for token, branch in zip(self.ids, self.branch, strict=True) if branch == 0]

    def continuations(self, number: int) -> list[list[int]]:
        """What follows in each of `number`."""
        found: list[list[int]] = [[] for _ in range(number)]
        for token, branch in zip(self.ids, self.branch, strict=True):
            if branch:
                found[branch - 1].append(token)
        return found


def choice(sequences: Sequence[list[int]], start: int, words: Sequence[str]) -> Choice:
    """Whole sequences, of which the tokens from `start` on are scored, as one choice between `words`.

    Raises:
        UserError: one sequence begins as another is whole, so that the longer could never be the likelier.
    """
    order = sorted(range(len(sequences)), key=lambda at: sequences[at])
    for one, next_one in itertools.pairwise(order):
        if sequences[next_one][: len(sequences[one])] == sequences[one]:
            raise UserError(
                f"task.label_words: '{words[one]}' and '{words[next_one]}' cannot be told apart: as tokens one "
                "begins the other, and is never the less likely; give words of which none begins another"
            )
    first, last = sequences[order[0]], sequences[order[-1]]
    common = next(at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    if common == 0:
        raise UserError("task.template: nothing stands before the label words; they need something to follow")
    ids, branch = list(first[:common]), [0] * common
    for number, sequence in enumerate(sequences, 1):
        ids += sequence[common:]
        branch += [number] * (len(sequence) - common)
    return Choice(ids, branch, max(1, min(start, common)))


def log_probabilities(
    model: PreTrainedModel, choices: Sequence[Choice], number: int, at_once: int, packed: bool
) -> torch.Tensor:
    """The sum of each continuation's log-probabilities after the beginning, [choices, number] in fp64.

    Args:
        model: a causal language model.
        choices: between `number` continuations each.
        at_once: sequences in a pass; changes no number.
        packed: whether they are laid end to end.
    """
    import torch

    device = model.get_input_embeddings().weight.device
    sequences: list[list[int]] = []
    places: dict[tuple[int, int], int] = {}  # (sequence, position) -> where its hidden state will be
    terms: list[tuple[int, int, int]] = []  # place, token that follows, which sum it belongs to
    for row, one in enumerate(choices):
        beginning, stems = one.beginning, dict[tuple[int, ...], int]()
        continuations = one.continuations(number)
        for label in sorted(range(number), key=lambda at: -len(continuations[at])):
            rest = continuations[label]
            stem = tuple(rest[:-1])
            if stem not in stems:  # nor is it how a longer one begins
                stems |= {stem[:end]: len(sequences) for end in range(len(stem) + 1) if stem[:end] not in stems}
                sequences.append([*beginning, *stem])
            whole = [*beginning, *rest]
            for at in range(one.start, len(whole)):
                place = places.setdefault((stems[stem], at - 1), len(places))
                terms.append((place, whole[at], row * number + label))
    hidden = _hidden(model, sequences, list(places), at_once, packed)  # [places, hidden]
    places_of, tokens, totals = torch.tensor(terms, device=device).unbind(dim=1)  # each [terms]
    sums = torch.zeros(len(choices) * number, dtype=torch.float64, device=device)
    step = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for start in range(0, len(hidden), step):
        scores = model.lm_head(hidden[start : start + step]).float().log_softmax(dim=-1)  # [step, vocabulary]
        here = (places_of >= start) & (places_of < start + step)
        sums = sums.index_add(0, totals[here], scores[places_of[here] - start, tokens[here]].double())
    return sums.view(len(choices), number)


def _hidden(
    model: PreTrainedModel,
    sequences: Sequence[list[int]],
    places: Sequence[tuple[int, int]],
    at_once: int,
    packed: bool,
) -> torch.Tensor:
    """The trunk's last hidden states at `places`, each a sequence and a position: [places, hidden]."""
    import torch

    device = model.get_input_embeddings().weight.device
    found: list[torch.Tensor] = []
    order: list[int] = []
    for start in range(0, len(sequences), at_once):
        some = sequences[start : start + at_once]
        lengths = torch.tensor([len(ids) for ids in some], device=device)
        width = int(lengths.max())
        batch = {"input_ids": torch.tensor([ids + [0] * (width - len(ids)) for ids in some], device=device)}
        batch["lengths"] = lengths
        if packed:
            batch["position_ids"] = torch.arange(width, device=device).repeat(len(some), 1)
        inside = [at for at, (sequence, _) in enumerate(places) if start <= sequence < start + at_once]
        rows, positions = zip(*(places[at] for at in inside), strict=True)
        states = hidden_states(model.model, batch)  # [sequences, width, hidden]
        found.append(states[torch.tensor(rows, device=device) - start, torch.tensor(positions, device=device)])
        order += inside
    return torch.cat(found)[torch.tensor(order, device=device).argsort()]

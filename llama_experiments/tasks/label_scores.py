"""How likely a causal language model finds each of several continuations of one beginning, exactly and in few passes.

The continuations are laid end to end behind their beginning and told apart by a column beside the tokens. In the pass
each is there without its last token, after which nothing is asked; those that differ in that token alone share one,
and continuations of a single token need none. They branch off the beginning in one row, and what several rows begin
with is run once; where the attention takes no mask each is a row of its own.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llama_experiments.errors import UserError
from llama_experiments.tasks.beginnings import Laid, can_share, grouped, states_after
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
    model: PreTrainedModel,
    choices: Sequence[Choice],
    number: int,
    at_once: int,
    packed: bool,
    shared: Sequence[tuple[int, ...]] = (),
) -> torch.Tensor:
    """The sum of each continuation's log-probabilities after the beginning, [choices, number] in fp64.

    Args:
        model: a causal language model.
        choices: between `number` continuations each.
        at_once: rows in a pass; changes no number.
        packed: whether rows are laid end to end, where they do not branch.
        shared: what many choices begin with, at most one for each.
    """
    import torch

    device = model.get_input_embeddings().weight.device
    together = can_share(model)
    rows: list[Laid] = []
    places: dict[tuple[int, int], int] = {}  # (row, index in it) -> where its hidden state will be
    terms: list[tuple[int, int, int]] = []  # place, token that follows, which sum it belongs to
    for row, one in enumerate(choices):
        beginning, stems = one.beginning, dict[tuple[int, ...], tuple[int, int]]()  # -> row, index of its first token
        continuations = one.continuations(number)
        for label in sorted(range(number), key=lambda at: -len(continuations[at])):
            rest = continuations[label]
            stem = tuple(rest[:-1])
            if stem not in stems:  # nor is it how a longer one begins
                if not (together and stems):
                    rows.append(Laid.of(beginning))
                found = len(rows) - 1, rows[-1].grow(stem, label + 1)
                stems |= {stem[:end]: found for end in range(len(stem) + 1) if stem[:end] not in stems}
            of_row, start = stems[stem]
            for at, token in enumerate([*beginning, *rest][one.start :], one.start):
                index = at - 1 if at <= len(beginning) else start + at - 1 - len(beginning)
                place = places.setdefault((of_row, index), len(places))
                terms.append((place, token, row * number + label))
    hidden = _hidden(model, rows, list(places), at_once, packed, shared if together else ())  # [places, hidden]
    places_of, tokens, totals = torch.tensor(terms, device=device).unbind(dim=1)  # each [terms]
    sums = torch.zeros(len(choices) * number, dtype=torch.float64, device=device)
    step = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for first in range(0, len(hidden), step):
        scores = model.lm_head(hidden[first : first + step]).float().log_softmax(dim=-1)  # [step, vocabulary]
        here = (places_of >= first) & (places_of < first + step)
        sums = sums.index_add(0, totals[here], scores[places_of[here] - first, tokens[here]].double())
    return sums.view(len(choices), number)


def _hidden(
    model: PreTrainedModel,
    rows: Sequence[Laid],
    places: Sequence[tuple[int, int]],
    at_once: int,
    packed: bool,
    shared: Sequence[tuple[int, ...]],
) -> torch.Tensor:
    """The trunk's last hidden states at `places`, each a row and an index in it: [places, hidden]."""
    import torch

    device = model.get_input_embeddings().weight.device
    first = dict[int, int]()  # asked of a row: its own tokens, not those that it shares
    for row, index in places:
        first[row] = min(index, first.get(row, index))
    alike = grouped(rows, [first[row] for row in range(len(rows))], shared)
    found: list[torch.Tensor] = []
    order: list[int] = []
    for beginning, members in alike.items():
        for start in range(0, len(members), at_once):
            some = {row: position for position, row in enumerate(members[start : start + at_once])}
            states = _states(model, beginning, [rows[row] for row in some], packed)  # [rows, length, hidden]
            inside = [at for at, (row, _) in enumerate(places) if row in some]
            of_rows, indices = zip(*((some[places[at][0]], places[at][1]) for at in inside), strict=True)
            found.append(states[torch.tensor(of_rows, device=device), torch.tensor(indices, device=device)])
            order += inside
    return torch.cat(found)[torch.tensor(order, device=device).argsort()]


def _states(model: PreTrainedModel, beginning: tuple[int, ...], rows: Sequence[Laid], packed: bool) -> torch.Tensor:
    """Without a mask where none is needed."""
    import torch

    branched = any(any(row.branch) for row in rows)
    if beginning or (branched and can_share(model)):
        return states_after(model, beginning, rows)
    device = model.get_input_embeddings().weight.device
    lengths = torch.tensor([len(row.ids) for row in rows], device=device)
    width = int(lengths.max())
    batch = {"input_ids": torch.tensor([row.ids + [0] * (width - len(row.ids)) for row in rows], device=device)}
    batch["lengths"] = lengths
    if packed:
        batch["position_ids"] = torch.arange(width, device=device).repeat(len(rows), 1)
    return hidden_states(model.model, batch)

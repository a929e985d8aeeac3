"""The decoders of `caption`: what turns the features of a picture or clip into words.

Memory is float (B, L, D): L places (of all frames of a clip) with D features each. Words are int64,
their numbers from `words`. Every decoder has

    start(memory) -> state                          before the first word
    step(state, word (B,)) -> (logits (B, V), attention (B, L), state)
    forward(memory, words (B, S)) -> (logits (B, S, V), attention (B, S, L))

`forward` is teacher forcing: logits at s are of the word after words[:, :s + 1], and equal those of
`step` one after another. Its words may have K times the rows of memory: K captions of each picture,
which is remembered once. A state is a tuple of tensors with B first, so that a search can reorder
and repeat its rows. Attention says where a word looked, each row summing to 1; a decoder that
cannot look gives equal parts.

Sources: Vinyals et al. 2015, "Show and Tell" (`Nic`); Xu et al. 2015, "Show, Attend and Tell", soft
attention, its gate and deep output (`Attend`); Vaswani et al. 2017, pre-normalised as in Xiong et
al. 2020 (`Transformer`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from playground.errors import UserError

State = tuple[Tensor, ...]
LENGTH = 64  # words of a caption, at most, that a Transformer has places for


class Nic(nn.Module):
    """An LSTM whose first input is the picture, as one vector: the mean over its places.

    Departs from the paper: that vector is normalised first, as encoders differ in scale; dropout on
    words and outputs at one rate, no ensemble.
    """

    def __init__(self, features: int, words: int, hidden: int = 512, dropout: float = 0.3) -> None:
        super().__init__()
        self.picture = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, hidden))
        self.embedding = nn.Embedding(words, hidden)
        self.cell = nn.LSTMCell(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, words)
        _initialise(self.embedding, self.out)

    def start(self, memory: Tensor) -> State:
        h, c = self.cell(self.picture(memory.mean(1)))
        return h, c, memory.new_full(memory.shape[:2], 1 / memory.shape[1])

    def step(self, state: State, word: Tensor) -> tuple[Tensor, Tensor, State]:
        h, c = self.cell(self.dropout(self.embedding(word)), state[:2])
        return self.out(self.dropout(h)), state[2], (h, c, state[2])

    def forward(self, memory: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        return _one_by_one(self, memory, words)


class Attend(nn.Module):
    """An LSTM that looks at each word where it likes: additive attention, gated.

    Departs from the paper: places are layer-normalised; what is looked at is gated feature by
    feature (theirs as a whole); a tanh before the words' layer; dropout also on words.
    """

    def __init__(self, features: int, words: int, hidden: int = 512, dropout: float = 0.3) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.first = nn.Linear(features, 2 * hidden)  # of both states, from the mean place
        self.keys = nn.Linear(features, hidden)
        self.query = nn.Linear(hidden, hidden)
        self.energy = nn.Linear(hidden, 1)
        self.gate = nn.Linear(hidden, features)
        self.embedding = nn.Embedding(words, hidden)
        self.cell = nn.LSTMCell(hidden + features, hidden)
        self.from_state = nn.Linear(hidden, hidden)
        self.from_place = nn.Linear(features, hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, words)
        _initialise(self.embedding, self.out)

    def start(self, memory: Tensor) -> State:
        memory = self.norm(memory)
        h, c = torch.tanh(self.first(memory.mean(1))).chunk(2, dim=1)
        return h, c, memory, self.keys(memory)

    def step(self, state: State, word: Tensor) -> tuple[Tensor, Tensor, State]:
        h, c, memory, keys = state
        embedded = self.dropout(self.embedding(word))
        energy = self.energy(torch.tanh(keys + self.query(h)[:, None]))[..., 0]
        attention = energy.softmax(1)
        place = (attention[..., None] * memory).sum(1) * torch.sigmoid(self.gate(h))
        h, c = self.cell(torch.cat([embedded, place], 1), (h, c))
        deep = torch.tanh(embedded + self.from_state(h) + self.from_place(place))
        return self.out(self.dropout(deep)), attention, (h, c, memory, keys)

    def forward(self, memory: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        return _one_by_one(self, memory, words)


class Layer(nn.Module):
    """Masked self-attention, attention to the memory, two linear layers: each adds to its input."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = nn.Linear(width, 3 * width)
        self.own_out = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.memory = nn.Linear(width, 2 * width)
        self.query_out = nn.Linear(width, width)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def remember(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, width) -> keys and values (B, L, width), the same for every word."""
        keys, values = self.memory(memory).chunk(2, dim=-1)
        return keys, values

    def forward(
        self, x: Tensor, before: tuple[Tensor, Tensor] | None, memory: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """S words (B, S, width), keys and values of those before them, and of the memory ->
        (the same, attention (B, S, L), keys and values with these words').
        """
        query, keys, values = self.own(self.norms[0](x)).chunk(3, dim=-1)
        if before is not None:
            keys, values = torch.cat([before[0], keys], 1), torch.cat([before[1], values], 1)
        earlier = keys.shape[1] - x.shape[1]
        mask = torch.ones(x.shape[1], keys.shape[1], dtype=torch.bool, device=x.device)
        mask = mask.tril(earlier)
        own = F.scaled_dot_product_attention(
            self._split(query), self._split(keys), self._split(values), attn_mask=mask
        )
        x = x + self.dropout(self.own_out(self._join(own)))
        query = self._split(self.query(self.norms[1](x)))
        scores = query @ self._split(memory[0]).transpose(2, 3) / math.sqrt(query.shape[-1])
        attention = scores.softmax(-1)  # (B, heads, S, L)
        seen = self._join(attention @ self._split(memory[1]))
        x = x + self.dropout(self.query_out(seen))
        x = x + self.dropout(self.narrow(F.gelu(self.wide(self.norms[2](x)))))
        return x, attention.mean(1), (keys, values)

    def _split(self, x: Tensor) -> Tensor:
        """(B, S, width) -> (B, heads, S, width / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def _join(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)


class Transformer(nn.Module):
    """A small decoder; its attention is the mean over heads of the last layer's."""

    def __init__(
        self,
        features: int,
        words: int,
        hidden: int = 256,
        dropout: float = 0.1,
        layers: int = 3,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise UserError(f"--hidden is a multiple of {heads} here, not {hidden}.")
        self.picture = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, hidden))
        self.embedding = nn.Embedding(words, hidden)
        self.places = nn.Embedding(LENGTH, hidden)
        self.layers = nn.ModuleList(Layer(hidden, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)
        self.bias = nn.Parameter(torch.zeros(words))
        for table in (self.embedding, self.places):
            nn.init.normal_(table.weight, 0, 0.02)

    def start(self, memory: Tensor) -> State:
        """Memory's keys and values for each layer, then empty ones for the words."""
        seen = self.picture(memory)
        none = seen[:, :0]
        state: list[Tensor] = []
        for layer in self._each():
            state += [*layer.remember(seen), none, none]
        return tuple(state)

    def step(self, state: State, word: Tensor) -> tuple[Tensor, Tensor, State]:
        logits, attention, state = self._run(state, word[:, None])
        return logits[:, 0], attention[:, 0], state

    def forward(self, memory: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        return self._run(_begun(self, memory, len(words)), words)[:2]

    def _run(self, state: State, words: Tensor) -> tuple[Tensor, Tensor, State]:
        done = state[2].shape[1]  # words before these
        numbers = torch.arange(done, done + words.shape[1], device=words.device)
        x = self.dropout(self.embedding(words) + self.places(numbers))
        after: list[Tensor] = []
        attention = x
        for i, layer in enumerate(self._each()):
            keys, values, own_keys, own_values = state[4 * i : 4 * i + 4]
            x, attention, own = layer(x, (own_keys, own_values), (keys, values))
            after += [keys, values, *own]
        logits = F.linear(self.norm(x), self.embedding.weight, self.bias)  # words' own vectors
        return logits, attention, tuple(after)

    def _each(self) -> list[Layer]:
        return [layer for layer in self.layers if isinstance(layer, Layer)]


Decoder = Nic | Attend | Transformer
DECODERS: dict[str, type[Nic] | type[Attend] | type[Transformer]] = {
    "nic": Nic,
    "attend": Attend,
    "transformer": Transformer,
}


def _begun(decoder: Decoder, memory: Tensor, rows: int) -> State:
    """The state before the first words of `rows` captions, as many of each picture."""
    if rows % len(memory):
        raise ValueError(f"{rows} captions are not as many of each of {len(memory)} pictures")
    return repeated(decoder.start(memory), rows // len(memory))


def repeated(state: State, copies: int) -> State:
    """Each of its rows so many times, one after another."""
    return state if copies == 1 else tuple(t.repeat_interleave(copies, 0) for t in state)


def _one_by_one(decoder: Nic | Attend, memory: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
    state, logits, attention = _begun(decoder, memory, len(words)), [], []
    for word in words.unbind(1):
        one, where, state = decoder.step(state, word)
        logits.append(one)
        attention.append(where)
    return torch.stack(logits, 1), torch.stack(attention, 1)


def _initialise(*layers: nn.Embedding | nn.Linear) -> None:
    for layer in layers:
        nn.init.uniform_(layer.weight, -0.1, 0.1)


def doubly_stochastic(attention: Tensor, mask: Tensor) -> Tensor:
    """Xu et al. 2015, equation 14: each place should be looked at about once in a caption.

    attention (B, S, L), mask (B, S) of the words that count -> the mean of (1 - sum over words)².
    """
    looked = (attention * mask[..., None]).sum(1)
    return (1 - looked).square().mean()

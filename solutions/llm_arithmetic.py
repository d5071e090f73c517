"""LLM arithmetic.

How many parameters has this model, how many FLOPs does a token take, how many bytes its cache? How fast can a card decode
at batch 1, and from which batch is it compute-bound? What does ZeRO-3 leave per worker?

The model is a decoder of the Llama family, without biases. Each of its `layers` has

    attention   q [heads head_dim, dim], k and v [kv_heads head_dim, dim] each, o [dim, heads head_dim]
    SwiGLU      gate and up [hidden, dim] each, down [dim, hidden]
    RMSNorm     two weight vectors [dim], one before each of these

Around the layers stand the embedding table [vocab, dim], one last RMSNorm [dim] and the head [vocab, dim]. In a tied
model the head is the embedding table itself. heads head_dim need not be dim.

Conventions, without which no two answers agree:

    FLOPs       a multiply-add is 2. Matrix products only: the weight matrices, the head among them, queries times keys,
                and weights times values. The embedding is a look-up and costs none; norms, softmax, rotary embedding,
                activations and additions are left out
    attention   every new token is multiplied with all cached and all new tokens. The causal mask is not taken off, as
                for torch's FlopCounterMode and for PaLM's MFU; others halve what is among the new tokens
    training    a backward is two forwards, and recomputation does not count: MFU, not HFU
    counts      numbers of parameters, FLOPs and bytes are exact Python integers; a byte is a byte, no GB or GiB
    roofline    computing and reading overlap perfectly, so that a step takes the longer of the two times. A step reads
                each weight once, for the whole batch, and each sequence's cache. Writes and activations are left out

Rules: every number given must be positive, or ValueError is raised; a number of cached tokens, and ZeRO's stage, may be 0.
Decoder and Card are given and check themselves. Nothing is built or measured: sizes go up to models that no machine holds.

Stage 1: parameters, FLOPs.  Stage 2: grouped queries, tied weights, the KV cache, wrong values.  Stage 3: decoding on a
roofline.  Stage 4: training.

Sources: Pope et al., "Efficiently Scaling Transformer Inference" (2022); Chowdhery et al., "PaLM" (2022), appendix B;
Williams et al., "Roofline" (2009); Rajbhandari et al., "ZeRO" (2019), section 3.
"""

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Decoder:
    """Given. The sizes of a model."""

    layers: int
    dim: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocab: int
    tied: bool

    def __post_init__(self) -> None:
        if min(astuple(self)[:-1]) < 1 or self.heads % self.kv_heads:
            raise ValueError(f"sizes must be positive, and heads a multiple of kv_heads: {self}")


@dataclass(frozen=True)
class Card:
    """Given. What a GPU can do: FLOPs per second, bytes per second, and the bytes that it holds."""

    flops: float
    bandwidth: float
    memory: int

    def __post_init__(self) -> None:
        if not min(astuple(self)) > 0:
            raise ValueError(f"a card's numbers must be positive: {self}")


LLAMA_3_8B = Decoder(layers=32, dim=4096, heads=32, kv_heads=8, head_dim=128, hidden=14336, vocab=128256, tied=False)
H100 = Card(flops=989e12, bandwidth=3.35e12, memory=80 * 10**9)


# kata: begin
def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def _matrices(m: Decoder) -> int:
    """The parameters that every token is multiplied with: the layers' matrices and the head."""
    attention = 2 * m.heads * m.head_dim * m.dim + 2 * m.kv_heads * m.head_dim * m.dim  # q and o, k and v
    return m.layers * (attention + 3 * m.hidden * m.dim) + m.vocab * m.dim


# kata: end


def parameters(m: Decoder) -> int:
    """The number of parameters, norms included. In a tied model embedding and head are one matrix.

    >>> parameters(LLAMA_3_8B)
    8030261248
    """
    # kata: begin
    with_head = _matrices(m) + (2 * m.layers + 1) * m.dim  # two norms in a layer, and the last
    return with_head if m.tied else with_head + m.vocab * m.dim
    # kata: end


def forward_flops(m: Decoder, new: int, context: int) -> int:
    """FLOPs of a forward of one sequence: `new` tokens after `context` cached ones, with the logits of each new token.

    Nothing is computed again for the cached tokens, but each new token attends to context + new.
    Raises ValueError unless new > 0 and context >= 0.

    >>> forward_flops(LLAMA_3_8B, 1, 0)
    15009841152
    """
    # kata: begin
    _positive(new=new)
    if context < 0:
        raise ValueError(f"context must not be negative, got {context}")
    pairs = new * (context + new)
    # q k^T and the sum of values: a multiply-add each, in every layer, head and dimension. kv_heads does not matter here.
    return 2 * new * _matrices(m) + 4 * m.layers * m.heads * m.head_dim * pairs
    # kata: end


def kv_bytes(m: Decoder, tokens: int, *, dtype_bytes: int = 2) -> int:
    """The bytes of a cache that holds the keys and values of `tokens` tokens, in numbers of dtype_bytes each.

    Raises ValueError unless tokens >= 0 and dtype_bytes > 0.

    >>> kv_bytes(LLAMA_3_8B, 1)
    131072
    """
    # kata: begin
    if tokens < 0:
        raise ValueError(f"tokens must not be negative, got {tokens}")
    _positive(dtype_bytes=dtype_bytes)
    return 2 * m.layers * m.kv_heads * m.head_dim * tokens * dtype_bytes
    # kata: end


def decode_seconds(
    m: Decoder, card: Card, batch: int, context: int, *, weight_bytes: float = 2.0, kv_bytes_each: int = 2
) -> float:
    """The least time of one decoding step: `batch` sequences get one new token each, after `context` cached ones each.

    The longer of two times: that of computing a forward of each sequence, and that of reading. Read are all parameters,
    weight_bytes each, except an untied embedding table (the few rows looked up are left out), and the keys and values
    of the `context` tokens of each sequence, kv_bytes_each per number.
    Raises ValueError unless context >= 0 and all other numbers > 0.

    >>> round(1000 * decode_seconds(LLAMA_3_8B, H100, 1, 0), 3)  # milliseconds
    4.481
    """
    # kata: begin
    _positive(batch=batch, weight_bytes=weight_bytes)
    computing = batch * forward_flops(m, 1, context) / card.flops
    weights = parameters(m) if m.tied else parameters(m) - m.vocab * m.dim
    read = weights * weight_bytes + batch * kv_bytes(m, context, dtype_bytes=kv_bytes_each)
    return max(computing, read / card.bandwidth)
    # kata: end


def critical_batch(card: Card, *, weight_bytes: float = 2.0) -> float:
    """The batch at which a weight matrix takes as long to compute with as to read; not rounded, any model's.

    Below it decoding is memory-bound. Attention, caches and norms are left out, so each weight of weight_bytes is read
    once, and costs a multiply-add per sequence.
    Raises ValueError unless weight_bytes > 0.

    >>> round(critical_batch(H100))
    295
    """
    # kata: begin
    _positive(weight_bytes=weight_bytes)
    return weight_bytes * card.flops / (2 * card.bandwidth)
    # kata: end


def max_batch(m: Decoder, card: Card, tokens: int, *, weight_bytes: float = 2.0, kv_bytes_each: int = 2) -> int:
    """How many sequences of `tokens` tokens the card holds: their caches lie beside all parameters, and nothing else does.

    0 if not even one fits, or not even the parameters do. All parameters have weight_bytes, the embedding table, too.
    Raises ValueError unless all numbers > 0.

    >>> max_batch(LLAMA_3_8B, H100, 8192)
    59
    """
    # kata: begin
    _positive(tokens=tokens, weight_bytes=weight_bytes)
    free = card.memory - parameters(m) * weight_bytes
    return max(0, int(free // kv_bytes(m, tokens, dtype_bytes=kv_bytes_each)))
    # kata: end


def training_bytes(parameter_count: int, workers: int, stage: int, *, mixed: bool = True) -> int:
    """The bytes that the fullest of `workers` data-parallel workers holds for weights, gradients and Adam's state.

    Per parameter, mixed:      2 for the weight, 2 for its gradient, 12 for the optimizer: a float32 copy, two moments.
    Per parameter, not mixed:  4 for the weight, 4 for its gradient, 8 for the optimizer: two moments.
    ZeRO's stage 0 shards nothing, 1 the optimizer's state, 2 the gradients as well, 3 the weights as well. What is
    sharded is cut into `workers` shards of whole parameters, as equal as they can be. Activations are left out.
    Raises ValueError unless 0 <= stage <= 3 and both other numbers > 0.

    >>> [training_bytes(7_500_000_000, 64, stage) for stage in range(4)]
    [120000000000, 31406250000, 16640625000, 1875000000]
    """
    # kata: begin
    _positive(parameter_count=parameter_count, workers=workers)
    if stage not in (0, 1, 2, 3):
        raise ValueError(f"ZeRO has the stages 0 to 3, got {stage}")
    shard = -(-parameter_count // workers)  # rounded up
    each = (12, 2, 2) if mixed else (8, 4, 4)  # optimizer, gradient, weight: the order in which ZeRO shards them
    return shard * sum(each[:stage]) + parameter_count * sum(each[stage:])
    # kata: end


def mfu(m: Decoder, card: Card, tokens_per_second: float, length: int) -> float:
    """Model FLOPs utilisation of training on sequences of `length` tokens: the share of card.flops that the model needs.

    tokens_per_second is what one card trains on. A token takes its part of a forward and a backward of its sequence,
    without a cache. 0.5 means 50 %.
    Raises ValueError unless both numbers > 0.

    >>> round(mfu(LLAMA_3_8B, H100, 8000, 8192), 3)
    0.468
    """
    # kata: begin
    _positive(tokens_per_second=tokens_per_second, length=length)
    return 3 * forward_flops(m, length, 0) / length * tokens_per_second / card.flops
    # kata: end

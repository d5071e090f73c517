"""IP-Adapter: decoupled cross-attention.

How do you let a text-to-image model take a picture as a prompt, without retraining it and without weakening the text?
Write the projection that turns an image embedding into tokens, and the cross-attention that reads them beside the text.

An image encoder (CLIP's, frozen) gives one vector; a linear layer makes a few tokens of it, as wide as the text's. In
every cross-attention layer the pretrained projections stay as they are, and the image gets keys and values of its own:
    Z = softmax(Q K^T / sqrt(d)) V + scale x softmax(Q K'^T / sqrt(d)) V',      output = to_out(Z)
with Q, K, V as before (K and V from the text), K' and V' from the image tokens, and d = head_dim. Each half has a
softmax of its own, so the image takes no attention away from the text.

Rules: everything that torch offers may be called. No dropout, no norm around the attention and no residual. No
argument is modified.

Stage 1: tokens from an image, two attentions that share their queries, what trains.  Stage 2: any sizes, the scale,
wrong arguments.  Stage 3: huge logits, dtypes, gradients.  Stage 4: queries are projected once, and the number of
operators does not grow with the batch.

Source: Ye et al., "IP-Adapter: Text Compatible Image Prompt Adapter for Text-to-Image Diffusion Models" (2023).
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class ImageProjection(nn.Module):
    """Makes `tokens` tokens of width `context_dim` from one image embedding of width `image_dim`.

    Submodules, and nothing else with parameters; all of it is new and trains:
        proj: nn.Linear, image_dim -> tokens x context_dim, with bias; the j-th block of context_dim consecutive
            outputs is token j;
        norm: nn.LayerNorm over a token's context_dim numbers (with weight, bias and torch's eps), one for all tokens.
    """

    def __init__(self, image_dim: int, context_dim: int, tokens: int) -> None:
        """Initial weights are torch's own. Raises ValueError if `tokens` is below 1."""
        super().__init__()
        # kata: begin
        if tokens < 1:
            raise ValueError(f"tokens must be at least 1, got {tokens}")
        self.tokens = tokens
        self.proj = nn.Linear(image_dim, tokens * context_dim)
        self.norm = nn.LayerNorm(context_dim)
        # kata: end

    def forward(self, image_embedding: Float[Tensor, "batch image_dim"]) -> Float[Tensor, "batch tokens context_dim"]:
        """Project, cut into tokens, and normalise each token on its own."""
        # kata: begin
        return self.norm(self.proj(image_embedding).unflatten(-1, (self.tokens, -1)))  # -> [batch, tokens, context_dim]
        # kata: end


class DecoupledCrossAttention(nn.Module):
    """Multi-head cross-attention to a text and, with keys and values of its own, to image tokens.

    Submodules, all nn.Linear, and nothing else with parameters or buffers; inner = heads x head_dim:
        to_q: query_dim -> inner, to_k and to_v: context_dim -> inner, all without bias,
        to_out: inner -> query_dim, with bias: the pretrained layers. The constructor freezes them (none of their
            parameters requires a gradient); their weights are loaded afterwards.
        to_k_image and to_v_image: context_dim -> inner, without bias: new, and they train.
    Head h works with the h-th block of head_dim consecutive outputs of the projections, and its answer is the h-th
    block of to_out's input.

    `scale` is a plain attribute (a number, not part of the state dict). It can be set at any time, to any number, and
    counts from the next forward on.
    """

    def __init__(self, query_dim: int, context_dim: int, heads: int, head_dim: int, scale: float = 1.0) -> None:
        """Initial weights are nn.Linear's own. Raises ValueError if heads or head_dim is below 1."""
        super().__init__()
        # kata: begin
        if heads < 1 or head_dim < 1:
            raise ValueError(f"heads and head_dim must be at least 1, got {heads} and {head_dim}")
        inner = heads * head_dim
        self.heads, self.scale = heads, scale
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim, inner, bias=False)
        self.to_out = nn.Linear(inner, query_dim)
        self.requires_grad_(False)  # what was pretrained; what comes now is new
        self.to_k_image = nn.Linear(context_dim, inner, bias=False)
        self.to_v_image = nn.Linear(context_dim, inner, bias=False)
        # kata: end

    def forward(
        self,
        x: Float[Tensor, "batch queries query_dim"],
        context: Float[Tensor, "batch keys context_dim"],
        image_tokens: Float[Tensor, "batch tokens context_dim"],
    ) -> Float[Tensor, "batch queries query_dim"]:
        """The text's answer plus `scale` times the image's, added before to_out, which is applied once.

        Gradients reach x, context and image_tokens (so that an ImageProjection in front can learn), to_k_image and
        to_v_image. At scale 0 the image's half may be left out.
        """

        # kata: begin
        def split(t: Tensor) -> Tensor:
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [batch, n, inner] -> [batch, heads, n, head_dim]

        # Nearly all FLOPs are to_q and to_out, 2 query_dim inner a query each, which any way must spend: one q serves both.
        q = split(self.to_q(x))
        text = F.scaled_dot_product_attention(q, split(self.to_k(context)), split(self.to_v(context)))
        k_image, v_image = split(self.to_k_image(image_tokens)), split(self.to_v_image(image_tokens))
        answers = text + self.scale * F.scaled_dot_product_attention(q, k_image, v_image)
        return self.to_out(answers.transpose(1, 2).flatten(-2))  # [batch, heads, n, head_dim] -> [batch, n, inner]
        # kata: end

"""diffusers' ImageProjection and its attention with the IP-Adapter processor, under the kata's names.

diffusers freezes nothing in the constructors (its loader and the training scripts do) and keeps a list of scales, one
for each adapter.
"""

from diffusers.models.attention_processor import Attention, IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection as Projection
from torch import nn


class ImageProjection(nn.Module):
    def __init__(self, image_dim, context_dim, tokens):
        super().__init__()
        if tokens < 1:
            raise ValueError("tokens must be at least 1")
        layer = Projection(image_dim, context_dim, tokens)
        self.layer = [layer]  # in a list, so that its parameters are registered once, and not under diffusers' names
        self.proj, self.norm = layer.image_embeds, layer.norm

    def forward(self, image_embedding):
        return self.layer[0](image_embedding)


class DecoupledCrossAttention(nn.Module):
    def __init__(self, query_dim, context_dim, heads, head_dim, scale=1.0):
        super().__init__()
        if heads < 1 or head_dim < 1:
            raise ValueError("heads and head_dim must be at least 1")
        inner = heads * head_dim
        image = IPAdapterAttnProcessor2_0(inner, context_dim, num_tokens=(4,), scale=scale)
        layer = Attention(query_dim, context_dim, heads, dim_head=head_dim, processor=image).requires_grad_(False)
        self.layer, self.scale = [layer], scale
        self.to_q, self.to_k, self.to_v, self.to_out = layer.to_q, layer.to_k, layer.to_v, layer.to_out[0]
        self.to_k_image = image.to_k_ip[0].requires_grad_(True)
        self.to_v_image = image.to_v_ip[0].requires_grad_(True)

    def forward(self, x, context, image_tokens):
        self.layer[0].processor.scale = [self.scale]
        return self.layer[0](x, encoder_hidden_states=(context, [image_tokens[:, None]]))  # [batch, images, tokens, _]

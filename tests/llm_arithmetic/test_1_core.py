"""Stage 1. Parameters and FLOPs, of models in which every query head has its own keys and values."""

from dataclasses import replace

import pytest

from dojo.testing import expect_equal
from katas.llm_arithmetic import forward_flops, parameters

from .helpers import LLAMA_2_7B, PLAIN, SMALL, Real, counted, shown

MATRICES = "a layer has q, k, v, o, gate, up and down; around the layers are the embedding and the head"
NORMS = "RMSNorm has dim weights: two in each layer, and one after the last"
PRODUCTS = "2 for each weight of a matrix and token; the head is a matrix, the embedding a look-up"
PAIRS = "q k^T and the sum over values: 2 each per head dimension, head, layer and pair of a new token and any token"


def test_parameters_of_a_small_model():
    """1 layer, dim 4: 4 x 16 in attention, 3 x 24 in SwiGLU, 3 x 4 in norms, 2 x 40 around."""
    expect_equal(parameters(SMALL), 228, what=f"parameters of {shown(SMALL)}", hint=f"{MATRICES}; {NORMS}")


def test_parameters_of_llama_2_7b():
    """What is sold as 7B has 6.74 billion."""
    hint = f"{MATRICES}; {NORMS}"
    expect_equal(
        parameters(LLAMA_2_7B), 6_738_415_616, what=f"parameters of Llama-2-7B, {shown(LLAMA_2_7B)}", hint=hint
    )


@pytest.mark.parametrize("m", PLAIN, ids=["1 layer", "2 layers"])
def test_parameters_are_those_of_a_real_model(m):
    """Counted on the tensors of a model with these sizes."""
    what = f"parameters of {shown(m)}"
    expect_equal(parameters(m), Real(m).parameters(), what=what, hint=f"{MATRICES}; {NORMS}")


def test_flops_of_one_token():
    """176 weights in matrices, 2 FLOPs each, and 16 for the one pair: 2 products over 2 heads of 2."""
    what = f"FLOPs of one token of {shown(SMALL)}"
    expect_equal(forward_flops(SMALL, 1, 0), 368, what=what, hint=f"{PRODUCTS}; {PAIRS}")


def test_embedding_is_a_look_up_and_the_head_a_product():
    """One more entry in the vocabulary: two rows of parameters, but only the head's is multiplied with."""
    larger = replace(SMALL, vocab=SMALL.vocab + 1)
    more = parameters(larger) - parameters(SMALL)
    expect_equal(
        more, 8, what="additional parameters, for one more entry and dim 4", hint="a row in each of two tables"
    )
    for new in (1, 3):
        more = forward_flops(larger, new, 0) - forward_flops(SMALL, new, 0)
        what = f"additional FLOPs for {new} new tokens, for one more entry and dim 4"
        expect_equal(more, 8 * new, what=what, hint=f"{PRODUCTS}. Each new token has logits")


@pytest.mark.parametrize(("new", "context"), [(4, 0), (1, 5), (3, 2)])
@pytest.mark.parametrize("m", PLAIN, ids=["1 layer", "2 layers"])
def test_flops_are_what_torch_counts(m, new, context):
    """torch counts the products of a real model, without a mask that would halve anything."""
    hint = f"{PRODUCTS}. Attention: {PAIRS}; nothing is computed again for cached ones"
    what = f"FLOPs of {new} new after {context} cached tokens of {shown(m)}"
    expect_equal(forward_flops(m, new, context), counted(m, new, context), what=what, hint=hint)


@pytest.mark.parametrize(("first", "second"), [(1, 1), (3, 4)])
def test_a_prompt_in_two_chunks_costs_less_attention(first, second):
    """In one piece, the first tokens are multiplied with the later ones too, and the mask throws that away."""
    m = PLAIN[0]
    whole = forward_flops(m, first + second, 0)
    chunks = forward_flops(m, first, 0) + forward_flops(m, second, first)
    masked = 4 * m.layers * m.heads * m.head_dim * first * second
    what = f"what {first + second} tokens at once cost above {first}, then {second}"
    expect_equal(
        whole - chunks, masked, what=what, hint="all new x (context + new) pairs count: the mask is not taken off"
    )

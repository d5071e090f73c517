"""Stage 3. Padding, dtypes, gradients."""

import pytest
import torch

from dojo.testing import FLOATS, backward, expect_close, expect_equal, expect_slope, expect_unchanged
from dojo.testing.modules import fill

from .helpers import LENGTH, VOCAB, logits_of, random_model, texts

# True at the tokens that are targets; the first token of a row never is one.
MASKS = {
    "padding on the right": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]],
    "a prompt": [[0, 0, 1, 1, 1], [0, 0, 0, 1, 1], [0, 0, 0, 0, 1]],
    "holes": [[1, 0, 1, 0, 1], [0, 1, 1, 0, 0], [1, 1, 1, 1, 0]],
    "a row without targets": [[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
}


def chosen(model, tokens, mask):
    """-log p of each target that is left, from the model's own logits."""
    log_probs = logits_of(model, tokens).log_softmax(-1)
    places = [(row, t) for row, t in mask.nonzero().tolist() if t > 0]
    return torch.stack([-log_probs[row, t - 1, tokens[row, t]] for row, t in places])


@pytest.mark.parametrize("name", list(MASKS))
def test_the_mask_says_which_tokens_are_targets(rng, name):
    """It belongs to the targets: token t is left out where it stands as the answer, at place t - 1."""
    model, tokens, mask = random_model(rng), texts(rng, 3), torch.tensor(MASKS[name]).bool()
    want = chosen(model, tokens, mask).mean()
    hint = (
        "mask[:, 1:] lies over tokens[:, 1:]; the sum over what it leaves, divided by their number in the whole batch"
    )
    with expect_unchanged(tokens, mask, what="tokens or mask"):
        expect_close(model.loss(tokens, mask), want, what=f"the loss with a mask for {name}", hint=hint)


def test_a_mask_that_leaves_everything_changes_nothing(rng):
    """The first token is no target with or without it."""
    model, tokens = random_model(rng), texts(rng, 3)
    want = torch.as_tensor(model.loss(tokens)).detach()
    for first in (True, False):
        mask = torch.ones(3, 5, dtype=torch.bool)
        mask[:, 0] = first
        expect_close(model.loss(tokens, mask), want, what=f"the loss with a mask that begins with {first}")


def test_what_padding_holds_does_not_matter(rng):
    """It stands on the right, behind all that is asked for; attention hides what is later, so it needs no mask."""
    model, tokens = random_model(rng), texts(rng, 3)
    mask = torch.tensor(MASKS["padding on the right"]).bool()
    want = torch.as_tensor(model.loss(tokens, mask)).detach()
    others = torch.where(mask, tokens, (tokens + 3) % VOCAB)
    expect_close(model.loss(others, mask), want, what="the loss after the padding has changed", hint="mask[:, 1:]")


def test_a_hidden_target_gives_no_gradient(rng):
    """A text whose second half is hidden has the gradients of its first half."""
    model, tokens = random_model(rng), texts(rng, 2)
    mask = torch.tensor([[1, 1, 1, 0, 0]] * 2).bool()
    grads = []
    for given in ((tokens, mask), (tokens[:, :3],)):
        model.zero_grad()
        backward(model.loss(*given), what="the loss")
        grads.append(model.token.weight.grad.clone())
    expect_close(grads[0], grads[1], what="the gradient of token.weight with a mask", hint="hide targets, not logits")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_loss_is_computed_in_float32_at_least(rng, dtype):
    """From the model's own logits on. A bfloat16 loss has three digits: a step's progress is smaller than that."""
    model, tokens = random_model(rng, dtype), texts(rng, 6)
    fill(model.norm.weight, 4 * model.norm.weight.detach())  # losses of some size
    logits = logits_of(model, tokens)
    expect_equal(logits.dtype, dtype, what=f"the dtype of the logits in {dtype}", hint="the dtype of the weights")
    exact = -logits.double().log_softmax(-1)[:, :-1].gather(-1, tokens[:, 1:, None])
    wide = torch.promote_types(dtype, torch.float32)
    hint = "logits.float() before the softmax; float64 stays float64"
    expect_close(model.loss(tokens), exact.mean().to(wide), what=f"the loss in {dtype}", hint=hint)
    mask = torch.tensor([[1, 1, 1, 1, 0]] * 6).bool()
    want = exact[:, :-1].mean().to(wide)
    expect_close(model.loss(tokens, mask), want, what=f"the loss in {dtype}, with a mask", hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_loss_of_unlikely_targets_is_finite(rng, dtype):
    """Logits 1000 apart: p is 0 in every dtype, and its logarithm infinite. -log p is no more than a difference."""
    model, tokens = random_model(rng, dtype), texts(rng, 6)
    fill(model.norm.weight, 300 * model.norm.weight.detach().sign())
    logits = logits_of(model, tokens)
    exact = -logits.double().log_softmax(-1)[:, :-1].gather(-1, tokens[:, 1:, None])
    wide = torch.promote_types(dtype, torch.float32)
    hint = "F.cross_entropy, or log_softmax: not the logarithm of a softmax"
    expect_close(model.loss(tokens), exact.mean().to(wide), what=f"the loss of unlikely targets in {dtype}", hint=hint)


@pytest.mark.parametrize(
    "name", ["token.weight", "position.weight", "norm.bias", "blocks.0.attention.qkv.weight", "blocks.0.mlp.down.bias"]
)
def test_gradients_are_the_slopes_of_the_loss(rng, name):
    """Backward against a central difference in float64. The embedding's has two parts, and both count."""
    model, tokens = random_model(rng), texts(rng, 3, LENGTH)
    backward(model.loss(tokens), what="the loss")
    hint = "nothing may be detached; the head and the embedding are one parameter"
    expect_slope(lambda: model.loss(tokens), model.get_parameter(name), rng, name=name, hint=hint)

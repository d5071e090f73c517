"""Stage 1. Copies, zero convolutions, residuals, the first steps of training."""

import copy

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_unchanged, gradients, randn
from katas.controlnet_unet import ControlNet, TinyUNet, controlled_eps

from .helpers import DEEP, awake, built, doors, expect_residuals, inputs, names, open_doors, residuals, skips

COPIES = ("time", "conv_in", "down", "mid")


def fed(unet, call):
    """What `call` feeds the U-Net's decoder: the skips in the encoder's order, and the middle."""
    seen = []
    hooks = [part.register_forward_pre_hook(lambda module, given: seen.append(given[0])) for part in unet.up]
    call()
    for hook in hooks:
        hook.remove()
    expect_equal(len(seen), len(unet.up), what="how many decoder blocks one prediction runs", hint="run the U-Net once")
    widths = [unet.channels[0], *unet.channels]
    return [h[:, -width:] for h, width in zip(reversed(seen), widths, strict=True)] + [seen[0][:, : widths[-1]]]


def backward(unet, net, x, t, condition, slope):
    """Fresh gradients of sum(slope * eps)."""
    eps = controlled_eps(unet, net, x, t, condition)
    net.zero_grad()
    unet.zero_grad()
    hint = "freezing is requires_grad_(False) on the U-Net's parameters; no_grad around it cuts the residuals off"
    gradients.backward((slope * eps).sum(), what="the prediction", hint=hint)


def moved(module):
    """The names of the parameters with a gradient that is not zero."""
    return [name for name, p in module.named_parameters() if p.grad is not None and bool((p.grad != 0).any())]


def expect_all_learn(part, module, step, hint):
    still = sorted({name for name, _ in module.named_parameters()} - set(moved(module)))
    expect_equal(
        still,
        [],
        what=f"the parameters of `{part}` without a gradient at step {step}",
        hint=hint,
    )


def test_only_the_controlnet_is_in_the_controlnet():
    """`self.unet = unet` registers all of it: the checkpoint doubles, and the optimizer is handed frozen weights."""
    _, net = built()
    parts = {name.split(".")[0] for name in net.state_dict()}
    wanted = {*COPIES, "hint", "zero_convs", "zero_mid"}
    hint = "assign each one to self; a plain list hides layers, an nn.ModuleList does not"
    expect(parts >= wanted, f"state_dict() should hold all parts, but lacks {sorted(wanted - parts)}", hint=hint)
    hint = "the decoder is not copied, and the U-Net is no submodule: nothing in __init__ needs to keep it"
    expect(parts <= wanted, f"state_dict() should hold seven parts, but has {sorted(parts - wanted)} too", hint=hint)
    for name, parameter in net.named_parameters():
        what, hint = (
            f"the dtype of {name} beside a U-Net in float64",
            "put the new layers where the U-Net's weights are",
        )
        expect_equal(parameter.dtype, torch.float64, what=what, hint=hint)
    fixed = [name for name, p in net.named_parameters() if not p.requires_grad]
    expect_equal(fixed, [], what="the ControlNet's parameters that cannot train", hint="freeze the U-Net alone")


def test_each_skip_has_a_zero_convolution_of_its_own():
    """1x1, as wide as its skip, weight and bias zero. One convolution for all skips would tie the levels together."""
    _, net = built((4, 4, 4))
    expect_equal(
        len(net.zero_convs), 4, what="the number of zero_convs over three levels", hint="conv_in gives a skip too"
    )
    for name, conv in zip([*(f"zero_convs[{i}]" for i in range(4)), "zero_mid"], doors(net), strict=True):
        expect_equal(list(conv.weight.shape), [4, 4, 1, 1], what=f"the shape of {name}.weight")
        zeros = sum(int(p.count_nonzero()) for p in conv.parameters())
        expect_equal(zeros, 0, what=f"the number of nonzero values in {name}", hint="weight and bias start at zero")
    apart = len({p.data_ptr() for conv in doors(net) for p in conv.parameters()})
    expect_equal(apart, 10, what="how many different parameters five zero convolutions have", hint="make five layers")


def test_the_hint_starts_at_zero_and_has_the_latents_size(rng):
    """The condition is a picture; the U-Net works on latents, which are smaller by VAE_SCALE_FACTOR."""
    _, net = built(condition_channels=5)
    x, _, condition = inputs(rng, size=(5, 6), condition_channels=5)
    expect_close(
        net.hint(condition * 1e6),
        x.new_zeros(2, 4, 5, 6),
        what="the untrained hint",
        hint="strided layers bring the picture down to the latent's size, and the last layer starts at zero",
    )


def test_encoder_and_middle_are_copied_into_memory_of_their_own():
    """It starts from what the model knows. A shared module would train (or freeze) the original with it."""
    unet, net = built()
    for part in COPIES:
        originals, copies = getattr(unet, part).state_dict(), getattr(net, part).state_dict()
        expect_equal(list(copies), list(originals), what=f"the names of {part}'s parameters")
        for name, original in originals.items():
            expect_equal(
                copies[name], original, what=f"{part}.{name}", hint="copy trained values; do not build the layer anew"
            )
            expect(
                copies[name].data_ptr() != original.data_ptr(),
                f"{part}.{name} should have memory of its own, but is the U-Net's",
                hint="copy.deepcopy: assigning the module itself, or copy.copy, shares every tensor",
            )


def test_the_given_unet_is_frozen_and_otherwise_left_alone():
    """Everybody else who holds this U-Net keeps it as it was: its values and its mode."""
    unet = TinyUNet(2, DEEP).double().eval()
    with expect_unchanged(*unet.parameters(), what="the U-Net's weights"):
        ControlNet(unet, 3)
    trainable = [name for name, p in unet.named_parameters() if p.requires_grad]
    expect_equal(trainable, [], what="the U-Net's trainable parameters", hint="unet.requires_grad_(False)")
    expect(not unet.training, "a U-Net in eval mode should stay in it, but was put into train mode")
    unet.train()
    ControlNet(unet, 3)
    expect(unet.training, "a U-Net in train mode should stay in it, but was put into eval mode")


@pytest.mark.parametrize("size", [1.0, 1e12])
def test_it_starts_as_the_plain_unet_whatever_the_condition(rng, size):
    """Bit for bit: the first training step sees the pretrained model, however wild the picture is."""
    unet, net = built()
    x, t, condition = inputs(rng)
    expect_equal(
        controlled_eps(unet, net, x, t, condition * size),
        unet(x, t),
        what=f"the untrained ControlNet's prediction for a condition around {size:g}",
        hint="every residual starts at exactly zero: weight and bias of every zero convolution",
    )


def test_there_is_a_residual_for_every_skip_and_the_middle(rng):
    """conv_in's output is a skip too, so there is one more than there are down blocks."""
    unet, net = built()
    x, t, condition = inputs(rng)
    *down, mid = (list(r.shape) for r in residuals(net, x, t, condition))
    wanted = [list(h.shape) for h in skips(unet, x, t)]
    hint = "in the encoder's order, and conv_in's output is the first skip"
    expect_equal(down, wanted[:-1], what="the down residuals' shapes", hint=hint)
    expect_equal(mid, wanted[-1], what="the middle residual's shape")


def test_residuals_are_the_copys_skips_through_the_zero_convolutions(rng):
    """With the identity in every zero convolution they are what the U-Net's own encoder gives when the hint is added
    to conv_in's output: in the encoder's order, and with the hint in the first skip too."""
    unet, net = built()
    x, t, condition = inputs(rng)
    open_doors(awake(net, rng))
    expect_residuals(
        residuals(net, x, t, condition),
        skips(unet, x, t, added=net.hint(condition)),
        unet,
        note="with identities as zero convolutions",
        hint="h = conv_in(x) + hint(condition) is the first skip; the blocks run on it, and they hear t",
    )


def test_each_zero_convolution_acts_on_its_own_skip(rng):
    """Weight and bias act on one level each; copies that have been trained are used, not the U-Net's own blocks."""
    unet, net = built()
    x, t, condition = inputs(rng)
    open_doors(awake(net, rng))
    with torch.no_grad():
        for part in COPIES:
            for parameter in getattr(net, part).parameters():
                parameter.add_(randn(rng, *parameter.shape) / 10)
    twin = copy.deepcopy(unet)
    for part in COPIES:
        getattr(twin, part).load_state_dict(getattr(net, part).state_dict())
    wanted = skips(twin, x, t, added=net.hint(condition))
    for number, conv in enumerate(doors(net)):
        with torch.no_grad():
            conv.weight.mul_(number + 2)
            conv.bias.fill_(10.0 * number)
        wanted[number] = (number + 2) * wanted[number] + 10 * number
    expect_residuals(
        residuals(net, x, t, condition),
        wanted,
        unet,
        note="after some training",
        hint="zero_convs[i] takes the i-th skip, zero_mid takes the middle's output, and nothing else is added",
    )


def test_the_decoder_is_fed_each_skip_plus_its_residual(rng):
    """With identities as zero convolutions and no hint the copy gives the skips once more: the decoder sees them twice."""
    unet, net = built()
    x, t, condition = inputs(rng)
    open_doors(net)
    plain = fed(unet, lambda: unet(x, t))
    controlled = fed(unet, lambda: controlled_eps(unet, net, x, t, condition))
    for name, one, other in zip([*(f"skip {i}" for i in range(4)), "the middle"], controlled, plain, strict=True):
        hint = "pass down_residuals and mid_residual on to the U-Net; the frozen encoder sees x alone"
        expect_close(one, 2 * other, what=f"{name} as the decoder gets it", hint=hint)


def test_the_first_gradient_reaches_the_zero_convolutions_alone(rng):
    """It is the slope at the skip times the copy's feature there, and neither is zero. Behind them all is still zero."""
    unet, net = built()
    x, t, condition = inputs(rng)
    slope = randn(rng, *x.shape)
    backward(unet, net, x, t, condition, slope)
    features = skips(unet, x, t)
    nothing = [torch.zeros_like(h, requires_grad=True) for h in features]
    slopes = torch.autograd.grad((slope * unet(x, t, nothing[:-1], nothing[-1])).sum(), nothing)
    for name, conv, feature, at in zip(names(unet), doors(net), features, slopes, strict=True):
        weight = None if conv.weight.grad is None else conv.weight.grad[:, :, 0, 0]
        hint = "the zero convolution acts on the copy's feature itself, and its output reaches the frozen decoder"
        wanted = torch.einsum("bohw, bihw -> oi", at, feature)
        expect_close(weight, wanted, what=f"the weight's gradient behind {name} at step 1", hint=hint)
        expect_close(conv.bias.grad, at.sum((0, 2, 3)), what=f"the bias's gradient behind {name} at step 1", hint=hint)
    for part in (*COPIES, "hint"):
        what = f"the parameters of `{part}` with a gradient at step 1"
        expect_equal(moved(getattr(net, part)), [], what=what, hint="behind zero convolutions nothing can move yet")


def test_the_second_gradient_reaches_the_copies_and_the_third_all_of_the_hint(rng):
    """One step opens the zero convolutions, the next one the hint's last layer. Were every layer of the hint zero at
    the start, its features would be zero too, and nothing but the last bias could ever learn."""
    unet, net = built()
    x, t, condition = inputs(rng)
    slope = randn(rng, *x.shape)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(2):
        backward(unet, net, x, t, condition, slope)
        optimizer.step()
    for part in COPIES:
        hint = "nothing between the copies and the prediction may be detached, frozen or under no_grad"
        expect_all_learn(part, getattr(net, part), 2, hint)
    hint = "only the last layer of the hint encoder starts at zero; its output may not be detached"
    expect(bool(moved(net.hint)), "the hint's last layer should have a gradient at step 2, but has none", hint=hint)
    backward(unet, net, x, t, condition, slope)
    expect_all_learn("hint", net.hint, 3, hint)


def test_training_the_controlnet_never_changes_the_unet(rng):
    """AdamW with weight decay over *all* parameters, as people call it: what has no gradient does not move."""
    unet, net = built()
    x, t, condition = inputs(rng)
    slope = randn(rng, *x.shape)
    optimizer = torch.optim.AdamW([*net.parameters(), *unet.parameters()], lr=0.05, weight_decay=0.1)
    before = unet(x, t)
    with expect_unchanged(*unet.parameters(), what="the U-Net", hint="freeze it, and share no memory with it"):
        for _ in range(4):
            backward(unet, net, x, t, condition, slope)
            optimizer.step()
    expect_equal(unet(x, t), before, what="the plain U-Net's prediction after training")
    change = (controlled_eps(unet, net, x, t, condition) - controlled_eps(unet, net, x, t, -condition)).abs().max()
    expect(
        change > 1e-9,
        f"after 4 steps another condition should change the prediction, but changes it by {change:.1e}",
        hint="does the condition reach the copy, and does the hint learn?",
    )

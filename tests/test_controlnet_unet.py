"""What any right ControlNet over a U-Net does. No gradient to x is asked for, and the hint encoder may be any module.

The oracle is the given U-Net itself, looked at with hooks: its skips, and what its decoder is fed.
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged, randint, randn
from katas.controlnet_unet import VAE_SCALE_FACTOR, ControlNet, MultiControlNet, TinyUNet, controlled_eps

COPIES = ("time", "conv_in", "down", "mid")
DEEP = (4, 4, 6)  # skips of 4, 4, 4 and 6 channels; the first two are of one size


def built(channels=DEEP, condition_channels=3, kind=torch.float64):
    unet = TinyUNet(2, channels).to(kind)
    return unet, ControlNet(unet, condition_channels)


def inputs(rng, batch=2, size=(8, 8), condition_channels=3):
    picture = [VAE_SCALE_FACTOR * side for side in size]
    t = randint(rng, 0, 1000, batch)
    return randn(rng, batch, 2, *size), t, randn(rng, batch, condition_channels, *picture)


def doors(net):
    """The zero convolutions, the middle's last."""
    found = [*net.zero_convs, net.zero_mid]
    for conv in found:
        hint = "its bias starts at zero, and then learns"
        expect(conv.bias is not None, "a zero convolution should have a bias, but has none", hint=hint)
    return found


def residuals(net, *arguments, **named):
    down, mid = net(*arguments, **named)
    hint = "the middle gets a residual too: the copied middle block, then zero_mid"
    expect(isinstance(mid, torch.Tensor), f"mid_residual should be a tensor, but is {type(mid).__name__}", hint=hint)
    return [*down, mid]


def open_doors(net):
    """Every zero convolution becomes the identity, so the residuals are the copy's skips and middle themselves."""
    with torch.no_grad():
        for conv in doors(net):
            conv.weight.copy_(torch.eye(len(conv.weight))[:, :, None, None])
            conv.bias.zero_()
    return net


class Shrink(nn.Module):
    """A hint encoder to calculate with: the mean over each patch, its channels mixed by `weight`."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, condition):
        means = F.avg_pool2d(condition, VAE_SCALE_FACTOR)
        return torch.einsum("oc, bchw -> bohw", self.weight, means)


def awake(net, rng, condition_channels=3):
    """As some training leaves it: no zeros are left, and a hint that does not depend on how it is built."""
    with torch.no_grad():
        for conv in doors(net):
            for parameter in conv.parameters():
                parameter.copy_(randn(rng, *parameter.shape) / 2)
    first = net.conv_in.weight
    net.hint = Shrink(randn(rng, len(first), condition_channels).to(first))
    return net


def skips(unet, x, t, added=0.0):
    """The U-Net's skips and middle, with `added` on top of conv_in's output."""
    seen = []
    watched = [unet.conv_in, *unet.down, unet.mid]
    hooks = [unet.conv_in.register_forward_hook(lambda module, given, out: out + added)]
    hooks += [part.register_forward_hook(lambda module, given, out: seen.append(out)) for part in watched]
    unet(x, t)
    for hook in hooks:
        hook.remove()
    return seen


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


def names(unet):
    return [f"down_residuals[{i}]" for i in range(len(unet.channels) + 1)] + ["mid_residual"]


def expect_residuals(seen, wanted, unet, *, note, hint):
    expect_equal(len(seen) - 1, len(wanted) - 1, what="the number of down residuals", hint="conv_in gives a skip too")
    for name, one, other in zip(names(unet), seen, wanted, strict=True):
        expect_close(one, other, what=f"{name} {note}", hint=hint)


def backward(unet, net, x, t, condition, slope):
    """Fresh gradients of sum(slope * eps)."""
    eps = controlled_eps(unet, net, x, t, condition)
    expect(
        eps.requires_grad,
        "the prediction should depend on something trainable, but has no gradient at all",
        hint="freezing is requires_grad_(False) on the U-Net's parameters; no_grad around it cuts the residuals off",
    )
    net.zero_grad()
    unet.zero_grad()
    (slope * eps).sum().backward()


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


# Stage 1: copies, zero convolutions, residuals, the first steps of training


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
def test_there_is_a_residual_for_every_skip_and_the_middle(rng):
    """conv_in's output is a skip too, so there is one more than there are down blocks."""
    unet, net = built()
    x, t, condition = inputs(rng)
    *down, mid = (list(r.shape) for r in residuals(net, x, t, condition))
    wanted = [list(h.shape) for h in skips(unet, x, t)]
    hint = "in the encoder's order, and conv_in's output is the first skip"
    expect_equal(down, wanted[:-1], what="the down residuals' shapes", hint=hint)
    expect_equal(mid, wanted[-1], what="the middle residual's shape")


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
def test_only_the_controlnet_is_in_the_controlnet():
    """`self.unet = unet` registers all of it: the checkpoint doubles, and the optimizer is handed frozen weights."""
    _, net = built()
    parts = {name.split(".")[0] for name in net.state_dict()}
    wanted = {*COPIES, "hint", "zero_convs", "zero_mid"}
    hint = "the decoder is not copied, and the U-Net is no submodule: nothing in __init__ needs to keep it"
    expect_equal(sorted(parts), sorted(wanted), what="the parts of state_dict()", hint=hint)
    fixed = [name for name, p in net.named_parameters() if not p.requires_grad]
    expect_equal(fixed, [], what="the ControlNet's parameters that cannot train", hint="freeze the U-Net alone")


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


# Stage 2: the scale, several ControlNets, any depth and size, wrong arguments


@pytest.mark.stage(2)
@pytest.mark.parametrize("scale", [0.5, 2.0, -1.0, 0.0])
def test_residuals_are_linear_in_the_scale(rng, scale):
    """Every residual, the middle's too, and once: not the condition, and not the zero convolution's input."""
    unet, net = built()
    x, t, condition = inputs(rng)
    awake(net, rng)
    whole = residuals(net, x, t, condition)
    expect_residuals(
        residuals(net, x, t, condition, scale),
        [scale * r for r in whole],
        unet,
        note=f"at scale {scale:g}",
        hint="multiply what the zero convolutions give (bias included) by scale, and nothing else",
    )


@pytest.mark.stage(2)
def test_the_prediction_is_the_decoders_at_that_scale(rng):
    """The scale reaches the decoder once. Scaling the change of eps is guidance, another thing: the decoder is not linear."""
    unet, net = built()
    x, t, condition = inputs(rng)
    awake(net, rng)
    none = controlled_eps(unet, net, x, t, condition, 0.0)
    expect_equal(none, unet(x, t), what="eps at scale 0", hint="controlled_eps hands the scale to the ControlNet")
    half = copy.deepcopy(net)
    with torch.no_grad():
        for conv in doors(half):
            conv.weight.mul_(0.5), conv.bias.mul_(0.5)
    expect_close(
        controlled_eps(unet, net, x, t, condition, scale=0.5),
        controlled_eps(unet, half, x, t, condition),
        what="eps at scale 0.5",
        hint="as if every zero convolution were half as large: the residuals are scaled, once, and not the prediction",
    )


@pytest.mark.stage(2)
def test_two_controlnets_add_up(rng):
    """Each with its own condition (of other channels, too) and its own scale; level by level, and the middle."""
    unet, edges = built()
    pose = ControlNet(unet, 2)
    x, t, first = inputs(rng)
    *_, second = inputs(rng, condition_channels=2)
    awake(edges, rng), awake(pose, rng, 2)
    pairs = zip(residuals(edges, x, t, first, 0.5), residuals(pose, x, t, second, -2.0), strict=True)
    wanted = [a + b for a, b in pairs]
    both = MultiControlNet([edges, pose])
    hint = "call every net with its own condition and scale, and sum each level over the nets"
    expect_residuals(residuals(both, x, t, [first, second], [0.5, -2.0]), wanted, unet, note="of two nets", hint=hint)
    thrice = MultiControlNet([edges, edges, edges])
    for scale in (1.0, 2):
        expect_residuals(
            residuals(thrice, x, t, [first] * 3, scale),
            [3 * r for r in residuals(edges, x, t, first, scale)],
            unet,
            note=f"of three equal nets, all at scale {scale}",
            hint="a sum, not a mean; one number as scale serves all nets",
        )
    expect_close(
        controlled_eps(unet, both, x, t, [first, second], [0.5, -2.0]),
        unet(x, t, wanted[:-1], wanted[-1]),
        what="controlled_eps with a MultiControlNet",
        hint="it has a ControlNet's interface, so nothing special should be needed",
    )


@pytest.mark.stage(2)
def test_one_controlnet_in_a_multicontrolnet_is_that_controlnet(rng):
    """Scale 1 unless told; the nets are registered, so `.to()`, `state_dict()` and the optimizer reach them."""
    unet, net = built()
    x, t, condition = inputs(rng)
    awake(net, rng)
    alone = MultiControlNet([net])
    expect_residuals(
        residuals(alone, x, t, [condition]), residuals(net, x, t, condition), unet, note="of one net", hint="no more"
    )
    kept = isinstance(alone.nets, nn.ModuleList) and len(alone.nets) == 1 and alone.nets[0] is net
    expect(kept, "`nets` should be an nn.ModuleList of the given nets", hint="a plain list hides them from PyTorch")


@pytest.mark.stage(2)
def test_a_second_controlnet_on_a_frozen_unet_trains_and_shares_nothing(rng):
    """The U-Net is frozen already when the second copy is made; a copy of frozen parameters is frozen."""
    unet, first = built()
    second = ControlNet(unet, 3)
    fixed = [name for name, p in second.named_parameters() if not p.requires_grad]
    hint = "a copy inherits requires_grad=False from a frozen U-Net: requires_grad_(True) switches it on again"
    expect_equal(fixed, [], what="the second ControlNet's parameters that cannot train", hint=hint)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1.0)
    x, t, condition = inputs(rng)
    expect_equal(
        controlled_eps(unet, second, x, t, condition),
        unet(x, t),
        what="the second, untrained control after the first was trained",
        hint="no layer in common",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize(
    ("channels", "size", "batch"), [((4,), (3, 5), 1), ((4, 6), (5, 7), 3), ((8, 2, 4, 2), (9, 6), 2)], ids=str
)
def test_any_depth_width_and_size(rng, channels, size, batch):
    """One level, odd sizes, widths that fall: everything is asked of the U-Net, nothing is a constant."""
    unet, net = built(channels)
    x, t, condition = inputs(rng, batch, size)
    open_doors(awake(net, rng))
    expect_residuals(
        residuals(net, x, t, condition),
        skips(unet, x, t, added=net.hint(condition)),
        unet,
        note=f"over a U-Net of {list(channels)}",
        hint="widths and depth come from the U-Net",
    )
    expect_equal(list(controlled_eps(unet, net, x, t, condition).shape), list(x.shape), what="the prediction's shape")


@pytest.mark.stage(2)
def test_each_sample_has_its_own_timestep_and_condition(rng):
    """Of a batch or alone: the same numbers. The real hint encoder is in place here."""
    unet, net = built()
    x, t, condition = inputs(rng, batch=3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(randn(rng, *parameter.shape) / 5)
    whole = controlled_eps(unet, net, x, t, condition)
    for i in range(3):
        alone = controlled_eps(unet, net, x[i : i + 1], t[i : i + 1], condition[i : i + 1])
        expect_close(alone, whole[i : i + 1], what=f"sample {i}, computed alone", hint="samples never meet")


@pytest.mark.stage(2)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_nothing_given_is_changed(rng, training):
    """Neither inputs nor modes, of any layer; and a second call gives the same."""
    unet, net = built()
    awake(net, rng)
    layers = [*unet.train(training).modules(), *net.train(training).modules()]
    x, t, condition = inputs(rng)
    with expect_unchanged(x, t, condition, what="x, t or condition"), torch.no_grad():
        first = controlled_eps(unet, net, x, t, condition)
    expect_equal(controlled_eps(unet, net, x, t, condition), first, what="the same call a second time")
    what = "`training` of all layers after a prediction"
    expect_equal({layer.training for layer in layers}, {training}, what=what, hint="the mode is the caller's")


@pytest.mark.stage(2)
@pytest.mark.parametrize("picture", [(8, 8), (4, 4), (1, 1), (32, 16), (16, 32), (34, 32)], ids=str)
def test_a_condition_of_another_size_is_an_error(rng, picture):
    """A 4x4 picture gives a 1x1 hint, which is broadcast over the latent: wrong pictures, and no message."""
    _, net = built()
    x, t, _ = inputs(rng)
    with expect_raises(ValueError, what=f"a condition of {picture} for latents of (8, 8)"):
        net(x, t, randn(rng, 2, 3, *picture))


@pytest.mark.stage(2)
def test_wrong_counts_are_errors(rng):
    """zip stops at the shortest list without a word, and one of the ControlNets is simply not there."""
    unet, net = built()
    x, t, condition = inputs(rng)
    for channels in (0, -1):
        with expect_raises(ValueError, what=f"ControlNet(unet, condition_channels={channels})"):
            ControlNet(unet, channels)
    with expect_raises(ValueError, what="MultiControlNet([])"):
        MultiControlNet([])
    both = MultiControlNet([net, ControlNet(unet, 3)])
    counts = [(1, 1.0), (3, 1.0), (2, [1.0]), (2, [1.0] * 3), (1, [1.0] * 2), (1, [1.0]), (3, [1.0] * 3)]
    for conditions, scales in counts:
        with expect_raises(ValueError, what=f"two nets, {conditions} conditions and scale={scales}"):
            both(x, t, [condition] * conditions, scales)


# Stage 3: dtypes, devices, gradients through the frozen decoder


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_the_controlnet_takes_the_unets_dtype(rng, dtype):
    """Pretrained models are loaded in half precision; one float32 layer between half ones raises or promotes."""
    unet, net = built(kind=dtype)
    kinds = {str(p.dtype) for p in net.parameters()}
    expect_equal(kinds, {str(dtype)}, what="the dtypes of the ControlNet", hint="new layers follow the U-Net's")
    x, t, condition = inputs(rng)
    x, condition = x.to(dtype), condition.to(dtype)
    down, mid = net(x, t, condition, 0.5)
    expect_equal({str(r.dtype) for r in [*down, mid]}, {str(dtype)}, what="the dtypes of the residuals")
    both = MultiControlNet([net, net])
    down, mid = both(x, t, [condition] * 2, [0.5, 1.0])
    expect_equal({str(r.dtype) for r in [*down, mid]}, {str(dtype)}, what="the dtypes of a MultiControlNet's residuals")
    expect_equal(controlled_eps(unet, both, x, t, [condition] * 2), unet(x, t), what=f"the first prediction in {dtype}")


@pytest.mark.stage(3)
def test_the_controlnet_takes_the_unets_device():
    """The meta device stands in for a GPU: a layer left on the CPU would fail at the first forward there."""
    _, net = built(kind="meta")
    where = {p.device.type for p in net.parameters()}
    expect_equal(where, {"meta"}, what="the devices of the ControlNet", hint="put the new layers where the U-Net is")


@pytest.mark.stage(3)
@pytest.mark.parametrize(
    "name", ["condition", "hint.weight", "time.mlp.0.weight", "conv_in.bias", "down.1.conv1.weight", "zero_mid.weight"]
)
def test_gradients_are_the_predictions_slopes(rng, name):
    """Backward against a central difference in float64, through the frozen decoder of two summed ControlNets."""
    unet, net = built()
    awake(net, rng)
    both = MultiControlNet([net, ControlNet(unet, 3)])
    x, t, condition = inputs(rng)
    condition.requires_grad_()
    slope = randn(rng, *x.shape)
    tensor = {"condition": condition, **dict(net.named_parameters())}[name]
    conditions = [condition, condition.detach()]

    def loss():
        return (slope * controlled_eps(unet, both, x, t, conditions, [0.7, 1.0])).sum()

    value = loss()
    expect(value.requires_grad, "the prediction should have a gradient, but has none", hint="no no_grad around it")
    value.backward()
    expect(tensor.grad is not None, f"{name} should get a gradient, but has none", hint="is it detached, or frozen?")
    direction = randn(rng, *tensor.shape)
    ends = []
    with torch.no_grad():
        for step in (1e-5, -2e-5):
            tensor.add_(step * direction)
            ends.append(loss())
    # The difference quotient itself is off by about 1e-8 of the largest terms here (rounding / step, and step^2).
    expect_close(
        (tensor.grad * direction).sum(),
        (ends[0] - ends[1]) / 2e-5,
        what=f"the slope along {name}",
        hint="nothing may be detached, under no_grad, or changed in place",
        rtol=1e-5,
        atol=1e-5,
    )


# Stage 4: one pass through each network, a backward pass only where something trains


def large(rng):
    """A wider U-Net and inputs for it."""
    unet, net = built((16, 16, 32))
    return unet, net, inputs(rng, size=(8, 8))


@pytest.mark.stage(4)
def test_either_network_runs_once(rng, cost):
    """The U-Net once, and for each ControlNet one pass through encoder and middle: together 1.4 times the U-Net here.
    A second U-Net pass (a plain and a controlled one) would make it 2.4 times."""
    unet, net, (x, t, condition) = large(rng)
    for count in (1, 3):
        given = (net, condition) if count == 1 else (MultiControlNet([net] * 3), [condition] * 3)
        with torch.no_grad():
            with cost() as plain:
                unet(x, t)
            with cost() as hint:
                net.hint(condition)
            with cost() as spent:
                controlled_eps(unet, given[0], x, t, given[1])
        ratio = (spent.flops - count * hint.flops) / plain.flops
        expect(ratio > 1, f"U-Net and ControlNet should both be seen to run, but {ratio:.2f} U-Nets' FLOPs were")
        limit = 1 + 0.55 * count
        expect(
            ratio <= limit,
            f"{count} ControlNets should cost at most {limit:.2f} times the plain U-Net, but cost {ratio:.2f} times",
            hint="one walk through the encoder gives all residuals; the U-Net runs once, on their sum",
        )


@pytest.mark.stage(4)
def test_nothing_goes_backward_through_the_frozen_encoder(rng, cost):
    """Only decoder and ControlNet lie behind the loss, and of the decoder only its activations. The limit leaves room for
    recomputing activations."""
    unet, net, (x, t, condition) = large(rng)
    with torch.no_grad():
        with cost() as whole:
            controlled_eps(unet, net, x, t, condition)
        with cost() as residuals_alone:
            net(x, t, condition)
        with cost() as encoder:
            h, emb = unet.conv_in(x), unet.time(t)
            for block in (*unet.down, unet.mid):
                h = block(h, emb)
    decoder = whole.flops - residuals_alone.flops - encoder.flops
    eps = controlled_eps(unet, net, x, t, condition)
    expect(eps.requires_grad, "the prediction should have a gradient, but has none")
    with cost() as spent:
        eps.sum().backward()
    limit = 2.1 * decoder + 3.1 * residuals_alone.flops
    expect(
        spent.flops <= limit,
        f"backward should take at most {limit:.3g} FLOPs, but takes {spent.flops:.3g}",
        hint="with the U-Net's parameters frozen autograd skips its encoder and its weights",
    )


@pytest.mark.stage(3)
def test_it_learns_to_follow_the_condition(rng):
    """Forty steps: eps should grow by what the picture shows. Afterwards the change that an unseen picture makes must
    resemble that picture (cosine above 0.5; an untrained or blind control has 0)."""
    unet, net = built((8, 8), 1, torch.float32)

    def batch(count):
        x, t, _ = inputs(rng, count, (4, 4))
        quarters = randint(rng, 0, 2, count, 1, 2, 2).float() * 2 - 1  # each light or dark
        shown = F.interpolate(quarters, size=(4, 4)).expand(-1, 2, 4, 4)
        return x.float(), t, F.interpolate(quarters, size=(16, 16)), shown

    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(40):
        x, t, condition, shown = batch(8)
        loss = F.mse_loss(controlled_eps(unet, net, x, t, condition) - unet(x, t), shown)
        expect(loss.requires_grad, "the prediction should have a gradient, but has none")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, t, condition, shown = batch(64)
    change = controlled_eps(unet, net, x, t, condition) - unet(x, t)
    alike = F.cosine_similarity(change.flatten(), shown.flatten(), dim=0).item()
    expect(
        alike > 0.5,
        f"the change in eps should resemble the picture (cosine above 0.5), but its cosine is {alike:.2f}",
        hint="does the hint depend on the condition, and does every layer of it learn?",
    )

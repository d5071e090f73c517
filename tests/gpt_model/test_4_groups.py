"""Stage 4. What decays, and what does not."""

from dojo.testing import expect, expect_equal
from dojo.testing.describe import describe

from .helpers import built, shapes


def decay_of(model, weight_decay):
    """How often each parameter is in a group, and the decay of the last one, by its name."""
    groups = model.parameter_groups(weight_decay)
    right = isinstance(groups, list | tuple) and all(isinstance(group, dict) for group in groups)
    sentence = f"parameter_groups should return a list of dicts, but returned {describe(groups)}"
    expect(right, sentence, hint="[{'params': [...], 'weight_decay': ...}, ...]")
    for group in groups:
        keys = sorted(group)
        expect_equal(
            keys, ["params", "weight_decay"], what="the keys of a group", hint="as torch.optim.AdamW takes them"
        )
    names = {id(p): name for name, p in sorted(model.named_parameters(remove_duplicate=False))}
    lists = [(list(group["params"]), group["weight_decay"]) for group in groups]
    times, decays = dict.fromkeys(names.values(), 0), {}
    for parameters, decay in lists:
        for parameter in parameters:
            name = names.get(id(parameter))
            sentence = f"a group should hold the model's parameters, but holds {describe(parameter)}"
            expect(name is not None, sentence, hint="parameters, without their names")
            times[name] += 1
            decays[name] = decay
    return times, decays


def test_each_parameter_is_in_one_group_once():
    """The tied one too: twice in a group it would decay twice, and torch refuses it in two. Those in none never train."""
    times, _ = decay_of(built(), 0.1)
    wrong = {name: count for name, count in times.items() if count != 1}
    hint = "self.parameters() gives the tied parameter once; walking over modules does not"
    expect_equal(wrong, {}, what="the parameters that are not in the groups exactly once", hint=hint)


def test_matrices_decay_and_vectors_do_not():
    """Two or more dimensions: weights of linear layers and embeddings. A bias, or a norm's weight, is no capacity."""
    for weight_decay in (0.1, 0.03):
        _, decays = decay_of(built(), weight_decay)
        matrices = {name for name, shape in shapes().items() if len(shape) >= 2}
        wrong = [name for name, decay in decays.items() if decay != (weight_decay if name in matrices else 0)]
        hint = "p.dim() >= 2 decays by weight_decay, everything else by 0"
        expect_equal(wrong, [], what="the parameters with the wrong decay", hint=hint)

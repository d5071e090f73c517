"""The check that a generator decides every draw: a right sampler passes, each way to be wrong gives its sentence."""

import pytest
import torch

from dojo.testing import Wrong, expect_seeded, seeded


def message_of(sample, **keywords):
    """The message with which expect_seeded fails."""
    with pytest.raises(Wrong) as error:
        expect_seeded(sample, what="draws", **keywords)
    return str(error.value)


def right(generator):
    return torch.rand(9, generator=generator)


def from_the_global_stream(generator):
    return torch.rand(9)


def from_a_copy_of_the_global_stream(generator):
    with torch.random.fork_rng():
        return torch.rand(9)


def partly_from_a_copy_of_the_global_stream(generator):
    return torch.rand(9, generator=generator) + from_a_copy_of_the_global_stream(None)


def from_one_seed(generator):
    return torch.rand(9, generator=seeded(0))


def from_the_generators_seed(generator):
    return torch.rand(9, generator=generator and seeded(generator.initial_seed()))


def from_one_seed_unless_told(generator):
    return torch.rand(9, generator=generator or seeded(0))


def test_equal_seeds_give_equal_generators():
    """And another seed another one."""
    one, same, other = (torch.rand(3, generator=seeded(n)) for n in (5, 5, 6))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("plain", [False, True])
def test_a_right_sampler_passes(plain):
    """Tensors, plain values, and several results by their names."""
    expect_seeded((lambda generator: right(generator).tolist()) if plain else right, what="draws")
    expect_seeded(lambda generator: {"x": right(generator), "t": right(generator)}, what="draws", seed=4)
    expect_seeded(lambda generator: right(generator or seeded(0)), what="draws", optional=False)


@pytest.mark.parametrize(
    ("sample", "sentence"),
    [
        (
            from_the_global_stream,
            "draws with a generator should leave the global random stream alone, but drew from it",
        ),
        (from_a_copy_of_the_global_stream, "draws with an equally seeded generator at [0] should be "),
        (partly_from_a_copy_of_the_global_stream, "draws with an equally seeded generator at [0] should be "),
        (from_one_seed, "draws should differ with another seed, but is the same"),
        (from_the_generators_seed, "draws should differ with the next call with the same generator, but is the same"),
        (from_one_seed_unless_told, "draws should differ between two calls without a generator, but is the same"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_wrong_source_has_a_sentence(sample, sentence):
    """The sentence says which of the demands fails, and the hint follows."""
    message = message_of(sample)
    assert message.startswith(sentence)
    assert "hint: " in message


def test_a_part_that_is_wrong_is_named():
    """x_t may be right while t is the same in every call."""
    message = message_of(lambda generator: {"x_t": right(generator), "t": from_one_seed(generator)}, hint="randint")
    assert message == "t of draws should differ with another seed, but is the same\nhint: randint"

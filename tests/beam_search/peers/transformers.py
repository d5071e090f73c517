"""transformers' generate(num_beams=..., early_stopping="never"), on a model that is nothing but the kata's step function.

generate() takes a softmax of what a model says, which is NaN where every token is impossible, and lets processors have the
last word: so one of them puts the log-probabilities back as they came. It fills beams that do not exist yet with sums of
-1e9, which are dropped in the end. One beam it decodes greedily, and reports no score: that is added up here."""

from typing import NamedTuple

import torch
from torch import nn
from torch.utils._pytree import tree_map
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class Hypothesis(NamedTuple):
    tokens: list
    score: float


class Memory:
    """The step function's cache, as generate() wants to have one."""

    is_compileable = False

    def __init__(self):
        self.tree, self.length = None, 0

    def get_seq_length(self, *unused):
        return self.length

    def reorder_cache(self, beams):
        self.tree = tree_map(lambda leaf: leaf[beams], self.tree)


class Steps(PreTrainedModel, GenerationMixin):
    config_class = PretrainedConfig

    def __init__(self, call):
        super().__init__(PretrainedConfig())
        self.call, self.anchor = call, nn.Parameter(torch.zeros(1))  # generate() asks a parameter for the device

    def prepare_inputs_for_generation(self, input_ids, past_key_values=None, attention_mask=None, **unused):
        return {"input_ids": input_ids, "past_key_values": past_key_values}

    def forward(self, input_ids, past_key_values=None, **unused):
        self.given, past_key_values.tree = self.call(input_ids, past_key_values.tree)
        past_key_values.length = input_ids.shape[1]
        return CausalLMOutputWithPast(logits=self.given[:, None].float(), past_key_values=past_key_values)

    def as_given(self, input_ids, scores):
        return self.given if self.given.dtype == torch.float64 else self.given.float()


def search(call, start, eos, width, max_length, penalty):
    if width < 1 or max_length < 1:
        raise ValueError("at least one beam and one step")
    model = Steps(call)
    config = GenerationConfig(
        num_beams=width,
        num_return_sequences=width,
        max_new_tokens=max_length,
        length_penalty=penalty,
        early_stopping="never" if width > 1 else False,
        eos_token_id=eos,
        pad_token_id=eos,
        return_dict_in_generate=True,
        output_scores=True,
    )
    prompt = torch.tensor([[start]])
    made = model.generate(
        prompt,
        generation_config=config,
        attention_mask=torch.ones_like(prompt),
        logits_processor=[model.as_given],
        past_key_values=Memory(),
        use_cache=True,
    )
    found = []
    for row, tokens in enumerate(made.sequences.tolist()):
        generated = tokens[1:]
        if eos in generated:
            generated = generated[: generated.index(eos) + 1]
        share = len(generated) ** penalty
        if width > 1:
            score = float(made.sequences_scores[row])
        else:
            score = sum(float(s[0, t]) for s, t in zip(made.scores, generated, strict=True)) / share
        if score * share > -1e6:
            found.append(Hypothesis([start, *generated], score))
    return found


def beam_search(log_probs_fn, start_token, eos_token, beam_width, max_length, length_penalty=0.0):
    return search(
        lambda tokens, _: (log_probs_fn(tokens), ()), start_token, eos_token, beam_width, max_length, length_penalty
    )


def beam_search_with_cache(step_fn, start_token, eos_token, beam_width, max_length, length_penalty=0.0):
    return search(
        lambda tokens, cache: step_fn(tokens[:, -1], cache),
        start_token,
        eos_token,
        beam_width,
        max_length,
        length_penalty,
    )

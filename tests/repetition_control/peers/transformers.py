"""transformers' two processors. Additive penalties it does not have: those are counted here, with one bincount a row."""

import torch
from transformers import NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor


def repetition_penalty(logits, tokens, penalty):
    return RepetitionPenaltyLogitsProcessor(penalty)(tokens, logits.clone())


def frequency_presence_penalty(logits, tokens, frequency, presence):
    counts = torch.stack([torch.bincount(row, minlength=logits.shape[1]) for row in tokens]).double()
    return (logits.double() - frequency * counts - presence * (counts > 0).double()).to(logits.dtype)


def block_repeated_ngrams(logits, tokens, n):
    return NoRepeatNGramLogitsProcessor(n)(tokens, logits.clone())

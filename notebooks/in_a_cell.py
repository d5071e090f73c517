# %% [markdown]
# # Katas in the cells of a notebook
#
# A cell that begins with `%%kata NAME` is an answer: running it saves the cell to `answers/NAME.py` and shows the verdict
# below, with the first failure, its hint, and the mistake by name if it is a known one. Hints, solutions and history are
# those of the command line, so you can go back and forth.
#
# In a clone, `%load_ext dojo.notebook` is all that is needed. Elsewhere install the repository first, in a cell of its own:
# `%pip install git+URL`, with the address that you would clone.

# %%
# %load_ext dojo.notebook
import os
import tempfile

os.chdir(tempfile.mkdtemp())  # so that this notebook leaves your own answers alone; leave this line out in yours
# %kata init

# %% [markdown]
# `%kata` alone says what there is, and `%kata list` shows all katas. One of them:

# %%
# %kata show clip_loss

# %% [markdown]
# `%kata start clip_loss` would put the stub into a new cell. Here is a first attempt, the textbook's cross-entropy: row i is
# a classification, and the answer is the diagonal.

# %%
# %%kata clip_loss
import torch
from torch.nn import functional as F


def clip_loss(image_features, text_features, logit_scale):
    if image_features.dim() != 2 or image_features.shape != text_features.shape:
        raise ValueError("image and text features must have one shape [batch, dim]")
    images, texts = F.normalize(image_features, dim=-1), F.normalize(text_features, dim=-1)
    logits = logit_scale * images @ texts.T
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


# %% [markdown]
# Many tests pass all the same: where images and texts are alike, both directions have one loss. The verdict names what is
# missing. A hint asks the same as a question:

# %%
# %kata hint

# %% [markdown]
# The answer again. What is right is also defined in the notebook, and can be used further down.

# %%
# %%kata clip_loss
import torch
from torch.nn import functional as F


def clip_loss(image_features, text_features, logit_scale):
    if image_features.dim() != 2 or image_features.shape != text_features.shape:
        raise ValueError("image and text features must have one shape [batch, dim]")
    images, texts = F.normalize(image_features, dim=-1), F.normalize(text_features, dim=-1)
    logits = logit_scale * images @ texts.T
    answers = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, answers) + F.cross_entropy(logits.T, answers)) / 2


# %%
features = torch.eye(8)  # eight pairs that have nothing in common with each other
{scale: round(clip_loss(features, features, scale).item(), 4) for scale in (1.0, 10.0, 100.0)}

# %% [markdown]
# Solved, so the reference is open, with what an interviewer asks next.

# %%
# %kata solution

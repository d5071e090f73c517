"""The gallery's data, and its judges: who may see which digit, and how a picture of one is measured.

scikit-learn's 1797 handwritten digits are split into three parts by position. The painter (the diffusion model and all
its adapters) learns from three fifths. The judge that recognises digits learns from another fifth, so it cannot have
learned the painter's faults, and is itself examined on the last fifth, which nobody learns from.
"""

from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from sklearn.svm import SVC
from torch import Tensor


@dataclass(frozen=True)
class Digits:
    """Pictures [n, 1, 8, 8] from -1 (paper) to 1 (ink), and what they show, int64 [n]."""

    images: Tensor
    labels: Tensor

    def __getitem__(self, index: Tensor) -> "Digits":
        return Digits(self.images[index], self.labels[index])

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, digit: int) -> Tensor:
        """All pictures of one digit."""
        return self.images[self.labels == digit]


def load() -> tuple[Digits, Digits, Digits]:
    """What the painter learns from, what the judge learns from, and what nobody has seen."""
    data = load_digits()
    every = Digits(torch.tensor(data.images, dtype=torch.float32)[:, None] / 8 - 1, torch.tensor(data.target))
    place = torch.arange(len(every)) % 5
    return every[place >= 2], every[place == 1], every[place == 0]


class Judge:
    """Says which digit a picture shows: a support vector machine, which needs no weights file and no luck."""

    def __init__(self, digits: Digits) -> None:
        shifted = [torch.roll(digits.images, shift, 3) for shift in (-1, 0, 1)]
        self.svm = SVC(C=10, gamma=0.02).fit(torch.cat(shifted).flatten(1).numpy(), digits.labels.repeat(3).numpy())

    def __call__(self, images: Tensor) -> Tensor:
        """The digit in each picture [batch, 1, 8, 8]; -1 where the numbers are not even finite."""
        flat = images.detach().clamp(-1, 1).flatten(1).double()
        said = torch.from_numpy(self.svm.predict(flat.nan_to_num().numpy()))
        return said.where(flat.isfinite().all(1), -1)

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        return (self(images) == labels).double().mean().item()


def spread(images: Tensor, labels: Tensor) -> float:
    """Diversity: the mean distance between two pictures of the same digit, averaged over the digits."""
    flat = images.clamp(-1, 1).flatten(1)
    return torch.stack([torch.pdist(flat[labels == digit]).mean() for digit in labels.unique()]).mean().item()

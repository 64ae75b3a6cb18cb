"""Score head: from the tokens of a cutout to the calibrated log-odds that it shows a lens, or a look-alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.model.pooling import pool


class ScoreHead(nn.Module):
    r"""Two layers on the class token and the pooled patches, one logit for each of ``classes``, the first of them lens.

    Of the logits :math:`l` of a cutout, the score of class :math:`k` is

    .. math:: s_k = a_k (l_k - \log \sum_{j \ne k} e^{l_j}) + b_k

    with slope :math:`a` and offset :math:`b` from cutouts that no weight was fitted to (``training.finetune``), so that
    it is the log-odds of class :math:`k` at the prevalence that the contract states. Only the first ``given`` classes
    have scores; the others serve the training.

    Source: Platt 1999, Probabilistic outputs for support vector machines.
    """

    slope: Tensor
    offset: Tensor

    def __init__(self, dim: int, hidden: int, classes: int, pooling: str, given: int = 1) -> None:
        super().__init__()
        self.pooling, self.given = pooling, given
        self.inner = nn.Linear(2 * dim, hidden)
        self.outer = nn.Linear(hidden, classes)
        self.register_buffer("slope", torch.ones(given))
        self.register_buffer("offset", torch.zeros(given))

    def forward(self, tokens: Tensor) -> Tensor:
        """Compute the logits [N, C] of tokens [N, 1 + L, D]."""
        # A slice and its sum: ONNX writes an index as Gather, as it does a question for a shape.
        pooled = torch.cat([tokens[:, :1].sum(dim=1), pool(tokens, self.pooling)], dim=1)
        return self.outer(nn.functional.gelu(self.inner(pooled)))

    def scores(self, tokens: Tensor) -> Tensor:
        """Compute the calibrated scores [N, given] of tokens [N, 1 + L, D]."""
        return self.log_odds(self(tokens)) * self.slope + self.offset

    def log_odds(self, logits: Tensor) -> Tensor:
        """Compute the log-odds [N, given] of each of the first classes against all others, before the calibration."""
        odds = [
            logits[:, k : k + 1] - torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1).logsumexp(dim=1, keepdim=True)
            for k in range(self.given)
        ]
        return torch.cat(odds, dim=1)

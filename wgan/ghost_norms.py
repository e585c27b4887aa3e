"""Norms of single examples' gradients without the gradients, for fully connected critics.

A critic of layers z_l = W_l a_{l-1} + b_l, a_l = phi(z_l), l = 1..L-1, a_0 = (x, c), with the score
C = <u, a_{L-1}> + b, u = w, or u = w + V c where the condition is projected. phi is LeakyReLU or
ReLU: its slopes D_l = diag(phi'(z_l)) are constant around almost every input. Nothing is
normalised. Backward signals are d_{L-1} = D_{L-1} u, d_l = D_l W_{l+1}^T d_{l+1}.

**A score.** dC/dW_l = d_l a_{l-1}^T: of rank one. dC/db_l = d_l, dC/dw = a_{L-1}, dC/db = 1 and
dC/dV = a_{L-1} c^T.

**A slope.** g = S W_1^T D_1 W_2^T ... D_{L-1} u, with S the rows of x in (x, c). A penalty p = f(g)
with h = df/dg changes by dp = h^T dg. The D_l depend on W through the forward pass, but only where
a z_l changes its sign, so almost nowhere; what is left is a product in which each factor occurs
once. With the forward signals t_0 = S^T h, t_l = D_l W_l t_{l-1} (the derivative of a_l along h),
dp = t_{l-1}^T dW_l^T d_l: **dp/dW_l = d_l t_{l-1}^T**, of rank one again. dp/dw = t_{L-1} and
dp/dV = t_{L-1} c^T. Biases enter by the D_l alone: they get nothing. (A smooth phi would add a
second term by d phi'(z_l), and gradients of biases.)

**An example.** Its loss is any function of scores and slopes, so its gradient is, in each layer,
sum_k r_k s_k^T with one term for each score and slope: real, fake, penalty. Its squared norm is
sum_{k, m} <r_k, r_m> <s_k, s_m>, a few dot products (Goodfellow, "Efficient Per-Example Gradient
Computations", 2015; Li et al., "Large Language Models Can Be Strong Differentially Private
Learners", 2022, section 4: *ghost clipping*). A bias counts as an input of 1 in the terms of
scores, 0 in those of slopes. The clipped sum is then one product a layer over all terms,
sum_i f_i sum_k r_ik s_ik^T with f_i = min(1, clip / norm_i).

A step costs one pass forward and one back for real, fake and point, and one forward for h, as with
plain automatic differentiation. A critic that is a mean of such critics (`Committee`) is taken
member by member.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from everymode.wgan.chains import Chain, NotRankOne, Term, Trace, find_chains
from everymode.wgan.gradients import CriticLosses, CriticReport


@dataclass
class Tape:
    """Stands in for a critic: notes what its loss asks of it, and answers.

    Scores and slopes are leaves of the loss's graph, so that one backward pass over the loss alone
    says how it changes with each.

    Attributes:
        chains: The critics whose mean it is.
        scores: Scores asked for, with what led to them.
        slopes: Slopes asked for, with what led to them.
    """

    chains: tuple[Chain, ...]
    scores: list[tuple[Tensor, list[Trace]]] = field(default_factory=list)
    slopes: list[tuple[Tensor, list[tuple[Trace, list[Tensor]]]]] = field(default_factory=list)

    def __call__(self, sample: Tensor, condition: Tensor) -> Tensor:
        """As a critic: samples `(n, D)`, conditions `(n, C)` -> scores `(n,)`.

        Raises:
            NotRankOne: The samples depend on scores or slopes.
        """
        if sample.requires_grad or condition.requires_grad:
            raise NotRankOne("scores are asked for at points that depend on scores or slopes")
        with torch.no_grad():
            passes = [chain.forward(sample, condition) for chain in self.chains]
            total = sum(chain.share * s for chain, (s, _) in zip(self.chains, passes, strict=True))
        scores = torch.as_tensor(total).requires_grad_(True)
        self.scores.append((scores, [trace for _, trace in passes]))
        return scores

    def take_slopes(self, critic: object, points: Tensor, condition: Tensor) -> Tensor:
        """As `everymode.wgan.penalties.slopes`, of itself.

        Raises:
            NotRankOne: They are asked of another function, or of points that depend on scores.
        """
        if critic is not self or points.requires_grad or condition.requires_grad:
            raise NotRankOne("slopes are asked for of more than the critic at given points")
        traces = []
        with torch.no_grad():
            gradient = torch.zeros_like(points)
            seed = points.new_ones(1, 1)
            for chain in self.chains:
                _, trace = chain.forward(points, condition)
                signals = chain.backward(trace, seed)
                own = chain.slopes(trace, signals)
                if chain.columns is None:
                    gradient = chain.share * own
                else:
                    gradient.index_add_(1, chain.columns, own, alpha=chain.share)
                traces.append((trace, signals))
        gradient.requires_grad_(True)
        self.slopes.append((gradient, traces))
        return gradient

    def terms(self, loss: Tensor) -> Iterator[Term]:
        """What each layer's gradient of a scalar loss is made of, row by row."""
        leaves = [leaf for leaf, _ in self.scores] + [leaf for leaf, _ in self.slopes]
        factors = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            for (_, traces), factor in zip(self.scores, factors, strict=False):
                for chain, trace in zip(self.chains, traces, strict=True):
                    yield from chain.terms_of_scores(trace, factor)
            for (_, held), along in zip(self.slopes, factors[len(self.scores) :], strict=True):
                for chain, (trace, signals) in zip(self.chains, held, strict=True):
                    yield from chain.terms_of_slopes(trace, signals, along)


def ghost_sum(losses: CriticLosses, clip: float) -> tuple[Tensor, CriticReport]:
    """The sum of the examples' weighted gradients, each cut to the norm `clip`.

    Norms are summed in float64: terms of real and fake nearly cancel, and what is left is then no
    rounding error.

    Returns:
        The sum `(P,)`, valid until the next call, and what the losses showed.

    Raises:
        NotRankOne: The critic or its loss is not of the form that this module's text describes.
    """
    tape = Tape(find_chains(losses.critic.module))
    values, report = losses.loss(tape, tape.take_slopes, losses.examples)
    by_layer: dict[nn.Linear, list[Term]] = {}
    for term in tape.terms((values * losses.weights).sum()):
        by_layer.setdefault(term.layer, []).append(term)
    with torch.no_grad():
        layers = {layer: _Layer.of(terms, len(values)) for layer, terms in by_layer.items()}
        squares = torch.zeros(len(values), dtype=torch.float64, device=values.device)
        for each in layers.values():
            squares += each.squared_norms()
        factors = clip_factors(squares.clamp_min_(0.0).sqrt_(), clip).to(values.dtype)
        gradient = losses.critic.gradient.zero_()
        for layer, each in layers.items():
            each.write(layer, factors)
    return gradient, CriticReport(*(value.detach() for value in report))


def clip_factors(norms: Tensor, clip: float) -> Tensor:
    """min(1, clip / norm) for norms `(B,)`; 0 for one that is not finite, which no factor bounds.

    >>> clip_factors(torch.tensor([0.0, 0.5, 4.0, torch.inf, torch.nan]), 1.0)
    tensor([1.0000, 1.0000, 0.2500, 0.0000, 0.0000])
    """
    return torch.where(norms.isfinite(), (clip / norms).clamp_max(1.0), 0.0)


@dataclass(frozen=True)
class _Layer:
    """All terms of one layer, T for each of B examples.

    Attributes:
        left: r, `(T, B, outputs)`.
        right: s, `(T, B, inputs)`.
        inputs: What the bias sees in each term: 1 or 0, `(T,)`.
    """

    left: Tensor
    right: Tensor
    inputs: Tensor

    @staticmethod
    def of(terms: list[Term], count: int) -> "_Layer":
        """From terms whose row j is of example j modulo B = `count`."""
        times = [_times(len(term.right), count) for term in terms]
        shaped = [
            (term.left.view(t, count, -1), term.right.view(t, count, -1))
            if count
            else (term.left[None], term.right[None])
            for term, t in zip(terms, times, strict=True)
        ]
        biases = [float(term.bias) for term, t in zip(terms, times, strict=True) for _ in range(t)]
        left, right = (torch.cat(parts) for parts in zip(*shaped, strict=True))
        return _Layer(left, right, left.new_tensor(biases))

    def squared_norms(self) -> Tensor:
        """Of each example's gradient of the layer, `(B,)`, in float64."""
        left, right = (each.transpose(0, 1).double() for each in (self.left, self.right))
        inputs = self.inputs.double()
        grams = (left @ left.mT) * (right @ right.mT + torch.outer(inputs, inputs))
        return grams.sum((1, 2))

    def write(self, layer: nn.Linear, factors: Tensor) -> None:
        """Puts the layer's part of the clipped sum where the flat gradient has its place."""
        left, right = self.left * factors[:, None], self.right
        if not bool((factors > 0).all()):
            # 0 times infinity is not 0.
            left, right = (torch.where(factors[:, None] > 0, e, 0.0) for e in (left, right))
        assert layer.weight.grad is not None
        layer.weight.grad.copy_(left.flatten(0, 1).T @ right.flatten(0, 1))
        if layer.bias is not None and layer.bias.grad is not None:
            layer.bias.grad.copy_(self.inputs @ left.sum(1))


def _times(rows: int, count: int) -> int:
    if rows % max(count, 1):
        raise NotRankOne("the critic is called on rows that are no multiple of the examples")
    return rows // count if count else 1

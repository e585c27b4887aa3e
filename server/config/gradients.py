"""The keys of [gradients]: how a critic's gradient is made from those of single rows."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from everymode.server.config.sections import Section

if TYPE_CHECKING:
    from everymode.wgan.recipe import GradientRuleSpec


class GradientSettings(Section):
    """Clipping and noise of critics' gradients, row by row, for differentially private training."""

    clip: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="the largest norm of what one row adds to the gradient of a critic's step, "
        "penalty included, 1 say; 0: gradients are plain",
    )
    noise: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="deviation of the Gaussian noise on the sum of clipped gradients, in units of "
        "gradients.clip (the noise multiplier); no epsilon is claimed for it yet",
    )
    sampling: Literal["poisson", "fixed"] = Field(
        "poisson",
        description="how a site draws the rows of a step where gradients are clipped: poisson, "
        "each row independently, which accountants can use; or fixed, so many with replacement",
    )

    def rule(self) -> "GradientRuleSpec":
        """The part of the recipe that the keys describe."""
        # PyTorch is imported where it is needed.
        from everymode.wgan.clipped_noised import ClippedNoised
        from everymode.wgan.gradients import Plain

        if not self.clip:
            return Plain()
        return ClippedNoised(self.clip, self.noise, self.sampling)

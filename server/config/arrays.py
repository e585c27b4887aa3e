"""What a configuration asks for that needs columns, where the sites hold arrays."""

from everymode.server.config.settings import Settings
from everymode.wgan.errors import SettingsError


def check_for_arrays(settings: Settings) -> None:
    """Refuses parts of a run that are defined on columns of a table alone.

    Raises:
        SettingsError: All such keys at once.
    """
    problems = []
    if settings.data.holdout is not None:
        problems.append(
            "data.holdout: held-out rows are judged by their columns, and the sites hold arrays; "
            "leave it out (data.held_out holds out rows at the sites)"
        )
    if settings.fairness.bias_head:
        problems.append(
            "fairness.bias_head reads columns, and the sites hold arrays; write bias_head = 0"
        )
    if settings.penalised:
        problems.append(
            "fairness.parity: its penalty reads columns, and the sites hold arrays; write parity = "
            "'none', or 'demographic' with data.condition = 'group_and_label'"
        )
    if "table" in settings.views.use:
        problems.append(
            "views.use = 'table' masks columns, and the sites hold arrays; write 'noise' or "
            "'diffusion'"
        )
    if problems:
        raise SettingsError(problems)

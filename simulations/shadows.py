"""Files in the working directory that would be taken for the product."""

from pathlib import Path

import everymode
from everymode.wgan.errors import SettingsError


def find_shadow(folder: Path) -> Path | None:
    """A file of the folder that `import everymode` would find first; None where there is none.

    Python looks into the working directory first where it is started with `-m`, and so do Ray's
    workers, however the command was started.
    """
    for name in ("everymode/__init__.py", "everymode.py"):
        path = folder / name
        if path.exists() and not path.samefile(str(everymode.__file__)):
            return path
    return None


def refuse_shadow() -> None:
    """Refuses to start workers where they would import another `everymode`.

    Raises:
        SettingsError: The working directory holds one.
    """
    path = find_shadow(Path.cwd())
    if path is not None:
        raise SettingsError(
            f"{path}: Ray's workers would import it instead of EveryMode; rename it, run from "
            "another folder, or use --backend inline"
        )

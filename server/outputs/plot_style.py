"""What all pictures share: colours, frames, names in any script, files written whole."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from everymode.wgan.files import write_whole
from everymode.wgan.words import visible

INK, GREY, PALE = "#222222", "#707070", "#D6D6D6"
# Okabe and Ito (2008), told apart with any colour vision; without yellow, which is lost on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BLUE, RED = PALETTE[:2]
DASHED = (0, (4, 1.6))
# Asked in turn for letters that the first one, which comes with matplotlib, does not have.
FAMILIES = "DejaVu Sans;Noto Sans;Noto Sans CJK SC;Noto Sans CJK JP;Arial Unicode MS;PingFang SC"
NAME_LENGTH = 40


def dress(axes: Axes, title: str, pad: float = 6.0) -> None:
    """Title, grid and frame, alike in all pictures."""
    axes.set_title(title, loc="left", fontsize=10.5, color=INK, fontweight="bold", pad=pad)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5, color="#999999", labelcolor=INK)


def short(name: str) -> str:
    """A name on one line, cut where it is long; what is not seen is written out."""
    line = visible(" ".join(name.split())) or "(empty)"
    return line if len(line) <= NAME_LENGTH else line[: NAME_LENGTH - 1].rstrip() + "…"


def write(artists: Sequence[Text], names: Sequence[str]) -> None:
    """Sets the names of groups: as they are, in letters that an installed font has."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = [family for family in FAMILIES.split(";") if family in installed]
    letters: set[int] = set()
    for family in families:
        letters.update(font_manager.get_font(font_manager.findfont(family)).get_charmap())
    for artist, name in zip(artists, names, strict=True):
        artist.set(parse_math=False, fontfamily=families)
        artist.set_text("".join(c if ord(c) in letters else "\N{WHITE SQUARE}" for c in name))


def save(figure: Figure, path: Path) -> None:
    """Writes the PNG beside its place and puts it there in one step."""
    write_whole(
        path,
        lambda file: figure.savefig(file, dpi=150, format="png", metadata={"Software": None}),
    )

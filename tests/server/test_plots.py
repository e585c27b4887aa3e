"""Pictures: written whole or not at all, from anything a run may report."""

import threading
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from everymode.server.outputs import plots
from everymode.server.outputs.plots import curves, groups
from everymode.wgan.errors import StateError

pytestmark = pytest.mark.pictures

RACES = ("White", "Black", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other")
ADULT = [f"{sex}, {race}" for sex in ("Female", "Male") for race in RACES]


def rounds_of(count, names=ADULT, seed=0, **change):
    rng = np.random.default_rng(seed)
    return [
        {
            "round": i + 1,
            "seconds": 3.0 + rng.random(),
            "estimate": 0.3 + 3 * np.exp(-i / 15) + 0.03 * rng.standard_normal(),
            "estimate_by_group": {n: rng.random() if rng.random() > 0.1 else None for n in names},
            "worst_group": names[0] if names else None,
            "penalty": rng.random(),
            "generator_loss": rng.standard_normal(),
            "rate": 1.0 if i < count // 2 else 0.5,
            "bytes_up": 3_400_000,
            "bytes_down": 2_100_000,
            **change,
        }
        for i in range(count)
    ]


def group(rows, total=1000, **change):
    figures = {"rows_real": rows, "rows_synthetic": rows + 3, "sites": 2, "tv": 0.05, "ks": 0.1}
    shares = {"share_real": rows / total, "share_synthetic": (rows + 3) / total}
    coverage = {"coverage": 0.95, "coverage_low": 0.9, "coverage_high": 1.02}
    return figures | shares | coverage | change


def ink(path):
    """Share of pixels that are not white, after the PNG was read back."""
    picture = imread(path)
    assert min(picture.shape[:2]) > 200
    return float((picture[..., :3].min(axis=2) < 0.9).mean())


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would be saved, for tests that read what is on them and need no pixels."""
    figures = []

    def save(figure, path, **_):
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", save)
    return figures


def legend(figure):
    found = figure.subfigs[0].axes[0].get_legend()
    return found.get_title().get_text(), [text.get_text() for text in found.get_texts()]


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("count", [1, 300])
def test_curves_of_any_length(count, tmp_path):
    curves(rounds_of(count), tmp_path / "curves.png")
    assert 0.005 < ink(tmp_path / "curves.png") < 0.3
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]


@pytest.mark.parametrize(
    "change",
    [
        {"estimate": None, "estimate_by_group": {}, "worst_group": None, "penalty": 0.0},
        {"estimate": float("nan"), "estimate_by_group": None, "penalty": float("-inf")},
        {"estimate_by_group": dict.fromkeys(ADULT), "generator_loss": None, "bytes_up": 0},
        {"estimate": 1e30, "worst_group": "gone", "seconds": None, "rate": None},
    ],
)
def test_curves_with_gaps_and_constants(change, tmp_path):
    curves(rounds_of(40, **change), tmp_path / "curves.png")
    assert ink(tmp_path / "curves.png") > 0.003


def test_curves_of_no_rounds_and_of_bare_lines(tmp_path, drawn):
    curves([], tmp_path / "none.png")
    curves([{}, {"round": 2}], tmp_path / "bare.png")
    assert drawn[0].texts[0].get_text() == "No rounds yet"
    assert legend(drawn[1])[1] == ["All rows"]


def test_every_group_is_named_up_to_twelve_and_the_worst_marked(tmp_path, drawn):
    curves(rounds_of(20), tmp_path / "a.png")
    title, labels = legend(drawn[0])
    assert title == "Groups, highest at the end first"
    assert len(labels) == 12  # all rows, ten groups, one mark where the rate falls
    assert sorted(t.split("  ")[0] for t in labels[1:-1]) == sorted(ADULT)
    assert [t for t in labels if t.endswith("worst")] == [
        "Female, White  \N{LEFTWARDS ARROW} worst"
    ]


def test_of_many_groups_the_highest_and_the_worst_are_named(tmp_path, drawn):
    names = [f"g{i:02d}" for i in range(30)]
    lines = rounds_of(20, estimate_by_group={n: float(i) for i, n in enumerate(names)})
    for line in lines:
        line["worst_group"] = "g05"
    curves(lines, tmp_path / "a.png")
    title, labels = legend(drawn[0])
    assert title.startswith("9 of 30 groups")
    expected = ["All rows", *(f"g{i}" for i in range(29, 21, -1))]
    assert labels[:9] == expected
    assert labels[9].startswith("g05")


def test_smoothing_keeps_constants_and_gaps_and_averages():
    constant = np.full(500, 2.5)
    np.testing.assert_allclose(plots._smooth(constant), constant)
    noise = np.random.default_rng(0).standard_normal(500)
    assert plots._smooth(noise)[20:-20].std() < 0.5
    gap = constant.copy()
    gap[100:200] = np.nan
    smooth = plots._smooth(gap)
    assert np.isnan(smooth[110:190]).all()
    np.testing.assert_allclose(smooth[np.isfinite(smooth)], 2.5)


def test_extreme_rounds_do_not_flatten_the_others(tmp_path, drawn):
    lines = rounds_of(90, estimate_by_group={})
    for i, line in enumerate(lines):
        line["estimate"] = -1e6 if i == 0 else i / 90
    curves(lines, tmp_path / "a.png")
    axes = drawn[0].subfigs[0].axes[0]
    assert -0.2 < axes.get_ylim()[0] < axes.get_ylim()[1] < 1.2
    assert [text.get_text() for text in axes.texts] == ["points off the scale: 1"]


@pytest.mark.parametrize("count", [1, 60])
def test_groups_of_any_number(count, tmp_path):
    table = {f"group {i}": group(900 // (i + 1)) for i in range(count)}
    groups({"per_group": table}, tmp_path / "groups.png")
    assert ink(tmp_path / "groups.png") > 0.005
    assert [p.name for p in tmp_path.iterdir()] == ["groups.png"]


def test_more_groups_need_a_taller_picture(tmp_path, drawn):
    for count in (10, 60, 500):
        table = {f"group {i}": group(1000 - i) for i in range(count)}
        groups({"per_group": table}, tmp_path / "a.png")
    heights = [figure.get_figheight() for figure in drawn]
    assert heights[1] > 3 * heights[0]
    # A canvas has at most 65,536 pixels a side.
    assert heights[2] * 150 < 2**16
    assert drawn[2].get_suptitle() == "The 100 largest of 500 groups"


def test_groups_are_sorted_counted_and_marked_where_rows_do_not_suffice(tmp_path, drawn):
    none = dict.fromkeys(("tv", "ks", "coverage", "coverage_low", "coverage_high"))
    table = {"small": group(7, **none), "large": group(12345), "middle": group(600, ks=None)}
    groups({"per_group": table}, tmp_path / "a.png")
    names = [text.get_text() for text in drawn[0].axes[0].texts]
    assert names == ["large", "middle", "small"]
    assert {"12,345", "12,348", "600", "7"} <= set(texts(drawn[0]))
    assert texts(drawn[0]).count("insufficient") == 2


@pytest.mark.parametrize(("ratio", "scale"), [(49, "linear"), (51, "log")])
def test_shares_far_apart_get_a_logarithmic_axis(ratio, scale, tmp_path, drawn):
    table = {
        "large": group(10, share_real=0.01 * ratio, share_synthetic=0.01 * ratio),
        "small": group(9, share_real=0.01, share_synthetic=0.01),
    }
    groups({"per_group": table}, tmp_path / "a.png")
    assert drawn[0].axes[0].get_xscale() == scale


def test_a_group_without_synthetic_rows_is_drawn(tmp_path):
    lost = group(5, total=10_000, rows_synthetic=0, share_synthetic=0.0)
    groups({"per_group": {"lost": lost, "large": group(9000, total=10_000)}}, tmp_path / "a.png")
    zero = group(0, share_real=0.0, share_synthetic=0.0)
    groups({"per_group": {"zero": zero}}, tmp_path / "b.png")
    groups({"per_group": {}}, tmp_path / "c.png")
    groups({"per_group": {"bare": {}}}, tmp_path / "d.png")
    assert all(ink(tmp_path / f"{name}.png") > 0 for name in "abcd")


def test_names_are_drawn_as_they_are(tmp_path, drawn):
    names = [
        "$5, $6_x^2",
        "_hidden",
        "Größe\nzwei",
        "東京 \U0001f600",
        "",
        "n" * 41,
        "n" * 40,
        "\x07",
    ]
    table = {name: group(100 - i) for i, name in enumerate(names)}
    groups({"per_group": table}, tmp_path / "a.png")
    curves(rounds_of(3, names), tmp_path / "b.png")
    shown = [text.get_text() for text in drawn[0].axes[0].texts]
    assert shown[:3] == ["$5, $6_x^2", "_hidden", "Größe zwei"]
    assert shown[4:7] == ["(empty)", "n" * 39 + "…", "n" * 40]
    assert not any(text.get_parse_math() for text in drawn[0].axes[0].texts)
    assert "_hidden" in legend(drawn[1])[1]


def test_names_that_are_no_formula_or_hide_something_are_drawn_as_text(tmp_path, drawn):
    names = ["$x_{$", "\\frac{$", "$\\undefined$", "a\x1b[2J", "b\u202ec\u200b", "d\x9b"]
    table = {name: group(100 - i) for i, name in enumerate(names)}
    groups({"per_group": table}, tmp_path / "a.png")
    curves(rounds_of(3, names), tmp_path / "b.png")
    shown = [text.get_text() for text in drawn[0].axes[0].texts]
    assert shown[:6] == [*names[:3], r"a\x1b[2J", r"b\u202ec\u200b", r"d\x9b"]
    assert {"$x_{$", r"d\x9b"} <= {text.split("  ")[0] for text in legend(drawn[1])[1]}


def test_the_same_figures_give_the_same_file(tmp_path):
    for name in ("a.png", "b.png"):
        groups({"per_group": {"a": group(3)}}, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    "draw", [lambda p: curves(rounds_of(3), p), lambda p: groups({"per_group": {"a": group(3)}}, p)]
)
def test_a_failure_leaves_the_old_picture_and_nothing_else(draw, tmp_path, monkeypatch):
    path = tmp_path / "old.png"
    path.write_bytes(b"old")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(StateError, match=r"cannot write .*old\.png: No space left on device"):
        draw(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=r"cannot write .*file.a\.png: Not a directory"):
        curves(rounds_of(1), tmp_path / "file" / "a.png")


def test_pictures_can_be_drawn_in_threads(tmp_path):
    failures = []

    def work(i: int) -> None:
        try:
            groups({"per_group": {"a": group(3 + i)}}, tmp_path / f"{i}.png")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_pyplot_is_never_imported():
    assert "pyplot" not in Path(plots.__file__).read_text().replace("never `pyplot`", "")


# The critic's slopes --------------------------------------------------------------------------


def looked_at(lines, every=10, slopes=(0.2, 0.7, 0.9, 1.1, 1.4)):
    """The same lines with an evaluation now and then."""
    return [
        line | {"evaluation": {"slopes": slopes and list(slopes)}}
        if line["round"] % every == 0
        else line
        for line in lines
    ]


def slopes_of(figure):
    (axes,) = [a for a in figure.axes if "slope" in a.get_title(loc="left") + a.get_title()]
    return axes


@pytest.mark.parametrize("slopes", [(0.2, 0.7, 0.9, 1.1, 1.4), None, (None,) * 5])
def test_slopes_are_drawn_where_the_critic_was_looked_at(slopes, tmp_path):
    plain, looked = tmp_path / "plain.png", tmp_path / "looked.png"
    curves(rounds_of(40), plain)
    curves(looked_at(rounds_of(40), slopes=slopes), looked)
    for path in (plain, looked):
        head = path.read_bytes()[:24]
        assert head.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = (int.from_bytes(head[at : at + 4], "big") for at in (16, 20))
        assert imread(path).shape[:2] == (height, width)
        assert width > 1000 and height > 600
    assert (plain.read_bytes() == looked.read_bytes()) == (slopes is None)


def test_the_line_of_slopes_is_their_median(tmp_path, drawn):
    curves(looked_at(rounds_of(30)), tmp_path / "a.png")
    axes = slopes_of(drawn[0])
    lines = [[list(values) for values in line.get_data()] for line in axes.lines]
    assert [[10, 20, 30], [0.9] * 3] in lines
    # The target, from side to side.
    assert any(list(line.get_ydata()) == [1.0, 1.0] for line in axes.lines)
    assert axes.get_ylim()[0] == 0
    assert "not measured yet" not in texts(drawn[0])
    # However steep, all of it is on the picture.
    curves(looked_at(rounds_of(30), slopes=(1, 2, 3, 50, 90)), tmp_path / "b.png")
    assert slopes_of(drawn[1]).get_ylim()[1] > 90


def test_slopes_that_were_never_measured_say_so(tmp_path, drawn):
    for lines in (rounds_of(5), looked_at(rounds_of(20), slopes=None)):
        curves(lines, tmp_path / "a.png")
        assert "not measured yet" in [t.get_text() for t in slopes_of(drawn[-1]).texts]

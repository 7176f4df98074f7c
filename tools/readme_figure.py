"""Draws the README's picture, the theatre's company, into notebooks/images/gallery.png.

python tools/readme_figure.py
"""

from pathlib import Path

from mmlib import plots

PATH = Path(__file__).resolve().parent.parent / "notebooks" / "images" / "gallery.png"


def main() -> None:
    """Draw and store the picture; the same bytes each time."""
    PATH.parent.mkdir(parents=True, exist_ok=True)
    plots.save_figure(plots.gallery(), PATH)
    print(f"{PATH.name}: {PATH.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()

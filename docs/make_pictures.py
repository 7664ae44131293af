"""Make the pictures of docs/watching.md: python docs/make_pictures.py."""

import io
from pathlib import Path

from PIL import Image

from gdfast import plot

FOLDER = Path(__file__).parent / "pictures"


def main(folder: Path = FOLDER) -> list[Path]:
    """Write them into a folder, and return their paths."""
    folder.mkdir(exist_ok=True)
    paths, ravine = folder / "paths.png", folder / "ravine.gif"
    buffer = io.BytesIO()
    plot.gallery().savefig(buffer, format="png", dpi=120)
    Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(paths, optimize=True)
    plot.animate(ravine, "ravine", steps=45)
    return [paths, ravine]


if __name__ == "__main__":
    for path in main():
        print(path)

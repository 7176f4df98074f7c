"""How a figure, an animation or a sound gets onto the page: small, described in words, reproducible.

A live notebook gets `<img alt=...>`, since JupyterLab drops the alt text of a plain PNG output. Stored
pages (`MMLIB_STATIC=1`, set by the builder) get a PNG output with its alt text in the metadata, which
GitHub, nbconvert and an untrusted JupyterLab all show.
"""

import base64
import html
import io
import os
import wave

import numpy as np
import torch
from IPython.display import display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from mmlib.plots.looks import styled

DPI = 100  # one figure inch in pixels: what a screen shows, and no more
MARGIN = 6  # pixels, so that no letter touches the edge of a white figure on a dark page
LARGEST_ANIMATION = 300_000  # bytes


def is_static() -> bool:
    """Whether the page is being stored (`MMLIB_STATIC=1`), so that nothing on it can move."""
    return os.environ.get("MMLIB_STATIC", "") not in ("", "0")


@styled
def png_bytes(figure: Figure, *, margin: int = 0) -> bytes:
    """Return the figure as a palette PNG at screen resolution, the same bytes every time.

    Its ground is opaque, so that it can be read on a dark page too; `margin` pixels of it go round.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    picture = np.asarray(Image.open(buffer).convert("RGB"))
    framed = np.empty(np.add(picture.shape, (2 * margin, 2 * margin, 0)), np.uint8)
    framed[:] = picture[0, 0]
    framed[margin : margin + len(picture), margin : margin + picture.shape[1]] = picture
    small = with_palette(framed, 256)
    out = io.BytesIO()
    small.save(out, format="png", optimize=True)
    return out.getvalue()


def with_palette(pixels: np.ndarray, size: int) -> Image.Image:
    """Return pixels `(H, W, 3)` uint8 as a picture of at most `size` colours.

    An eighth of the palette are the colours that occur most, exactly; the others stand for the rest
    however little of each there is, so that a thin red line stays red.
    """
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    packed, where, counts = np.unique(
        (red << 16) | (green << 8) | blue, return_inverse=True, return_counts=True
    )
    colours = np.stack([packed >> 16, (packed >> 8) & 255, packed & 255], 1).astype(np.uint8)
    palette, nearest = colours, np.arange(len(colours))
    if len(colours) > size:
        often = np.argsort(-counts, kind="stable")
        rest = Image.fromarray(colours[often[size // 8 :]][None])
        few = rest.quantize(size - size // 8, method=Image.Quantize.MAXCOVERAGE, kmeans=1)
        table = np.array(few.getpalette(), np.uint8).reshape(-1, 3)
        palette = np.concatenate([colours[often[: size // 8]], table])
        nearest = nearest_colours(colours, palette)
    picture = Image.fromarray(nearest[where].reshape(pixels.shape[:2]).astype(np.uint8))
    picture.putpalette(palette.tobytes())
    return picture


def nearest_colours(colours: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return the place in the palette that is nearest to each colour; whole numbers, so exact."""
    one, other = colours.astype(np.float32), palette.astype(np.float32)
    lengths = (other**2).sum(1)
    parts = [
        (lengths - 2 * part @ other.T).argmin(1)
        for part in np.array_split(one, len(one) // 4096 + 1)
    ]
    return np.concatenate(parts)


def image_html(png: bytes, alt: str, *, width: int | None = None) -> str:
    """Return an `<img>` element that carries the picture itself and its alt text."""
    size = f' width="{width}"' if width else ""
    source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    return f'<img alt="{html.escape(alt, quote=True)}"{size} style="max-width:100%" src="{source}">'


def audio_html(waveform: np.ndarray | torch.Tensor, sample_rate: int, label: str) -> str:
    """Return a labelled `<audio>` player with 16-bit mono sound at most 20 dB below full scale."""
    samples = np.asarray(torch.as_tensor(waveform).detach().cpu(), dtype=np.float64).reshape(-1)
    samples = 0.8 * samples / max(float(np.abs(samples).max(initial=0.0)), 0.1)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    source = f"data:audio/wav;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    name = html.escape(label, quote=True)
    return f'<audio controls aria-label="{name}" src="{source}"></audio>'


def picture_bundle(png: bytes, alt: str) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Return the MIME bundle and metadata under which a picture is displayed, live or stored.

    Raises:
        ValueError: if the alt text is empty.
    """
    if not alt.strip():
        raise ValueError(
            "this picture has no alt text; say in one sentence what it shows, "
            'for example alt="accuracy grows with every modality, and stays below the ceiling"'
        )
    if is_static():
        data = {"image/png": base64.b64encode(png).decode("ascii"), "text/plain": alt}
        return data, {"image/png": {"alt": alt}}
    return {"text/html": image_html(png, alt), "text/plain": alt}, {}


def show_figure(figure: Figure, *, alt: str) -> None:
    """Display a figure with its alt text, and close it.

    Raises:
        ValueError: if the alt text is empty.
    """
    data, metadata = picture_bundle(png_bytes(figure, margin=MARGIN), alt)
    plt.close(figure)
    display(data, metadata=metadata, raw=True)


def animated_png(frames: np.ndarray, *, seconds: float) -> bytes:
    """Return frames `(T, H, W, 3)` uint8 as an endlessly repeating animated PNG.

    Raises:
        ValueError: if the result would be larger than 300 kB.
    """
    sheet = np.concatenate(list(frames), axis=0)
    whole = with_palette(sheet, 128)  # one palette for all frames, so that nothing flickers
    width, height = whole.width, whole.height // len(frames)
    pictures = [whole.crop((0, i * height, width, (i + 1) * height)) for i in range(len(frames))]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        format="png",
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 * seconds / len(pictures)),
        loop=0,
        optimize=True,
    )
    if buffer.tell() > LARGEST_ANIMATION:
        raise ValueError(
            f"this animation takes {buffer.tell():,} bytes, more than {LARGEST_ANIMATION:,}; "
            "show fewer frames or a smaller size"
        )
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write the figure as PNG, the same bytes every time."""
    with open(path, "wb") as file:
        file.write(png_bytes(figure))


def pixels(png: bytes) -> np.ndarray:
    """Return the pixels `(H, W, 3)` uint8 of a picture."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

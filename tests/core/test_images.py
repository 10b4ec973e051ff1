"""An image file of any kind becomes an image of the asked shape, with the pixels that NumPy computes."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo.data.images import read_image

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, 8), np.uint8)
COLOUR = RANDOM.integers(0, 256, (6, 8, 3), np.uint8)
OPACITY = RANDOM.integers(0, 256, (6, 8), np.uint8)
SIXTEEN = RANDOM.integers(0, 65_536, (6, 8), np.uint16)


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: np.ndarray, *, depth: int, colour: int, key: tuple[int, ...] = ()) -> bytes:
    """Return a PNG file written by hand, for what Pillow does not write.

    Args:
        pixels: `(H, W)` or `(H, W, C)`, as the file holds them.
        depth: Bits a channel.
        colour: 0 grey, 2 RGB, 4 grey with opacity, 6 RGB with opacity.
        key: The transparent colour.
    """
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    if depth == 16:
        lines = [row.astype(">u2").tobytes() for row in rows]
    else:
        bits = (rows[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1
        lines = [np.packbits(line.reshape(-1).astype(np.uint8)).tobytes() for line in bits]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    transparent = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b""
    data = zlib.compress(b"".join(b"\0" + line for line in lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + transparent + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def read(content: bytes, channels: int = 1, **options) -> np.ndarray:
    """Return an image of 6×8 pixels as `(6, 8)`, or `(6, 8, 3)` if it is of three channels."""
    image = read_image(content, (channels, 6, 8), **options)
    assert image.dtype == torch.uint8
    assert image.is_contiguous()
    return image.numpy().transpose(1, 2, 0).squeeze()


def laid(values: np.ndarray, opacity: np.ndarray, background: int) -> np.ndarray:
    """Return what is seen of values with an opacity on a background."""
    share = opacity / 255
    share = share if values.ndim == 2 else share[:, :, None]
    return values * share + background * (1 - share)


def assert_close(image: np.ndarray, expected: np.ndarray, tolerance: float = 1) -> None:
    assert np.abs(image.astype(float) - expected).max() <= tolerance


def luma(colour: np.ndarray) -> np.ndarray:
    """Return the grey of ITU-R BT.601."""
    return colour @ np.array([0.299, 0.587, 0.114])


# Pixels


def test_eight_bits_are_kept():
    assert (read(encoded(Image.fromarray(GREY))) == GREY).all()
    assert (read(encoded(Image.fromarray(COLOUR)), 3) == COLOUR).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_of_grey_are_scaled(form):
    assert (read(encoded(Image.fromarray(SIXTEEN), form)) == np.round(SIXTEEN / 257)).all()


def test_sixteen_bits_of_each_colour_are_scaled():
    pixels = RANDOM.integers(0, 65_536, (6, 8, 3), np.uint16)
    assert_close(read(png(pixels, depth=16, colour=2), 3), pixels / 257)


@pytest.mark.parametrize(("colour", "channels"), [(4, 1), (6, 3)])
def test_sixteen_bits_with_opacity_are_scaled_and_laid_on_the_background(colour, channels):
    pixels = RANDOM.integers(0, 65_536, (6, 8, channels + 1), np.uint16)
    expected = laid(pixels[:, :, :-1].squeeze() / 257, pixels[:, :, -1] / 257, 255)
    assert_close(read(png(pixels, depth=16, colour=colour), channels, background="white"), expected, 2)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_fewer_bits_span_black_to_white(depth):
    pixels = RANDOM.integers(0, 2**depth, (6, 8), np.uint8)
    assert (read(png(pixels, depth=depth, colour=0)) == pixels * (255 // (2**depth - 1))).all()


@pytest.mark.parametrize("inks", [(0, 0, 0, 255), (255, 0, 0, 0), (0, 100, 200, 50)])
def test_inks_become_colours(inks):
    content = encoded(Image.new("CMYK", (8, 6), inks), "JPEG", quality=100, subsampling=0)
    *colours, black = inks
    expected = [(255 - ink) * (255 - black) / 255 for ink in colours]
    assert_close(read(content, 3), np.broadcast_to(expected, (6, 8, 3)), 3)


def test_a_palette_is_looked_up():
    palette = RANDOM.integers(0, 256, (256, 3), np.uint8)
    image = Image.fromarray(GREY, "L")
    image.putpalette(palette.tobytes())
    assert image.mode == "P"
    for form in ("PNG", "GIF", "BMP", "TIFF"):
        assert (read(encoded(image, form), 3) == palette[GREY]).all()


def test_colour_becomes_grey_and_grey_three_equal_channels():
    assert_close(read(encoded(Image.fromarray(COLOUR))), luma(COLOUR), 0.51)
    assert (read(encoded(Image.fromarray(GREY)), 3) == GREY[:, :, None]).all()


# Transparency


@pytest.mark.parametrize(("background", "value"), [("white", 255), ("black", 0)])
def test_transparent_parts_show_the_background_and_not_their_hidden_colour(background, value):
    grey = encoded(Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(OPACITY))))
    colour = encoded(Image.fromarray(np.dstack([COLOUR, OPACITY])))
    assert_close(read(grey, background=background), laid(GREY, OPACITY, value))
    assert_close(read(colour, 3, background=background), laid(COLOUR, OPACITY, value))
    assert_close(read(colour, background=background), laid(luma(COLOUR), OPACITY, value), 1.5)


def test_a_palette_with_opacities_is_laid_on_the_background():
    palette, opacities = RANDOM.integers(0, 256, (256, 3), np.uint8), RANDOM.integers(0, 256, 256, np.uint8)
    image = Image.fromarray(GREY, "L")
    image.putpalette(palette.tobytes())
    content = encoded(image, transparency=opacities.tobytes())
    assert_close(read(content, 3, background="white"), laid(palette[GREY], opacities[GREY], 255))


def test_a_transparent_palette_index_is_the_background():
    image = Image.fromarray(GREY % 4, "L")
    image.putpalette(bytes([9, 9, 9, 50, 50, 50, 100, 100, 100, 150, 150, 150]))
    for form in ("PNG", "GIF"):
        expected = np.where(GREY % 4 == 2, 255, np.array([9, 50, 100, 150])[GREY % 4])
        assert (read(encoded(image, form, transparency=2), background="white") == expected).all()


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("highest", [False, True])
def test_a_transparent_grey_is_the_background_at_every_depth(depth, highest):
    most = 2**depth - 1
    key = most if highest else most // 3
    pixels = RANDOM.integers(0, most + 1, (6, 8), np.uint16)
    pixels[2, 3:5] = key
    expected = np.where(pixels == key, 0, np.round(pixels * (255 / most)))
    assert (read(png(pixels, depth=depth, colour=0, key=(key,)), background="black") == expected).all()


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_is_the_background_at_every_depth(depth):
    pixels = RANDOM.integers(0, 2**depth, (6, 8, 3), np.uint16)
    key = tuple(map(int, pixels[1, 1]))
    pixels[4, 4] = [key[0], key[1], 2**depth - 1 - key[2]]  # one channel differs
    expected = np.where((pixels == key).all(axis=2, keepdims=True), 255, pixels * (255 / (2**depth - 1)))
    assert_close(read(png(pixels, depth=depth, colour=2, key=key), 3, background="white"), expected)


def drawing(ink: int, form: str) -> bytes:
    """Return a line of grey ink, half opaque at its edges, on transparent pixels of the same hidden colour."""
    opacity = np.zeros((6, 8), np.uint8)
    opacity[2:5] = [[128], [255], [128]]
    layers = [Image.fromarray(np.full((6, 8), ink, np.uint8)), Image.fromarray(opacity)]
    if form == "grey":
        return encoded(Image.merge("LA", layers))
    if form == "colour":
        return encoded(Image.merge("RGBA", [layers[0]] * 3 + layers[1:]))
    image = Image.fromarray(opacity // 128)
    image.putpalette(bytes([ink] * 9))
    return encoded(image, transparency=bytes([0, 255, 255]))


@pytest.mark.parametrize("form", ["grey", "colour", "palette"])
@pytest.mark.parametrize(("ink", "background"), [(0, 255), (100, 255), (127, 255), (129, 0), (200, 0), (255, 0)])
def test_a_drawing_shows_on_its_background_whatever_its_ink(form, ink, background):
    image = read(drawing(ink, form))
    assert (image[[0, 1, 5]] == background).all()
    assert (image[3] == ink).all()


@pytest.mark.parametrize("ink", [0, 65_535])
def test_a_drawing_of_sixteen_bits_shows_on_its_background(ink):
    paper = 1000
    pixels = np.full((6, 8), paper, np.uint16)
    pixels[3] = ink
    image = read(png(pixels, depth=16, colour=0, key=(paper,)))
    assert (image[3] == ink // 257).all()
    assert (image[:3] == 255 - ink // 257).all()


def test_nothing_at_all_is_white():
    assert (read(encoded(Image.new("RGBA", (8, 6)))) == 255).all()


# Orientation, size, animation


ORIENTATIONS = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.T,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].T,
    8: np.rot90,
}


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("pixels", [GREY, SIXTEEN], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_an_image_is_turned_upright(orientation, pixels, form):
    expected = ORIENTATIONS[orientation](pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image(encoded(Image.fromarray(pixels), form, exif=exif), (1, *expected.shape))[0].numpy()
    assert (image == np.round(expected / (257 if pixels is SIXTEEN else 1))).all()


def test_the_middle_of_an_image_is_kept_and_its_mean_when_it_is_made_smaller():
    blocks = RANDOM.integers(0, 256, (4, 4), np.uint8)
    wide = np.full((32, 64), 77, np.uint8)
    wide[:, 16:48] = np.kron(blocks, np.ones((8, 8)))
    image = read_image(encoded(Image.fromarray(wide)), (1, 4, 4))[0].numpy()
    # The bilinear filter is a triangle twice as wide as a block, in pixels of the whole image.
    rows, columns = np.arange(32) + 0.5, np.arange(64) + 0.5
    centres = 8 * np.arange(4)[:, None] + 4
    vertical, horizontal = (
        np.maximum(0, 8 - abs(at - first)) for at, first in ((rows, centres), (columns, centres + 16))
    )
    vertical, horizontal = (weights / weights.sum(axis=1, keepdims=True) for weights in (vertical, horizontal))
    assert_close(image, vertical @ wide @ horizontal.T)


def test_the_hidden_colour_does_not_leak_at_edges_when_an_image_is_made_smaller():
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[..., 0] = 255  # transparent red
    pixels[8:24, 8:24] = [0, 0, 255, 255]
    image = read_image(encoded(Image.fromarray(pixels)), (3, 12, 12), background="black")
    assert image[0].max() == 0
    assert image[2].max() == 255


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation_is_read(form):
    frames = [Image.new("L", (8, 6), value) for value in (10, 100, 200)]
    options = {"lossless": True} if form == "WEBP" else {}
    assert (read(encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)) == 10).all()


# Sources and refusals


@pytest.mark.parametrize(
    "source", [str, lambda path: path, lambda path: path.read_bytes()], ids=["str", "Path", "bytes"]
)
def test_a_path_or_bytes_are_read(tmp_path, source):
    path = tmp_path / "image.png"
    Image.fromarray(GREY).save(path)
    assert (zoo.read_image(source(path), (1, 6, 8))[0].numpy() == GREY).all()


def refusal(source, shape=(1, 6, 8), **options) -> zoo.ImageError:
    with pytest.raises(zoo.ImageError) as caught:
        read_image(source, shape, **options)
    return caught.value


@pytest.mark.parametrize(
    ("spoil", "reason", "message"),
    [
        (lambda path: path.unlink(), "missing", "No such file or directory."),
        (lambda path: (path.unlink(), path.mkdir()), "missing", "Is a directory."),
        (lambda path: (path.unlink(), os.mkfifo(path)), "missing", "it is not a regular file."),
        (
            lambda path: path.write_text("hello"),
            "unknown kind",
            "it is no image file of the kinds PNG, JPEG, WEBP, GIF, BMP or TIFF.",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "damaged", "it is damaged, or was cut short."),
    ],
    ids=["missing", "directory", "fifo", "text", "cut short"],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path, spoil, reason, message):
    path = tmp_path / "image.png"
    Image.fromarray(GREY).save(path)
    spoil(path)
    error = refusal(path)
    assert str(error) == f"{path} cannot be read: {message}"
    assert error.reason == reason


def test_a_name_that_no_file_can_have_is_refused_on_one_line():
    assert str(refusal("a\0b\nc.png")).startswith(r"a\x00b\nc.png cannot be read: ")


@pytest.mark.parametrize("pixels", [GREY.astype(np.float32) / 255, GREY.astype(np.int32)], ids=["F", "I"])
def test_numbers_without_a_known_white_are_refused(pixels):
    image = Image.fromarray(pixels)
    error = refusal(encoded(image, "TIFF"))
    assert error.reason == "unknown kind"
    assert f"of Pillow's mode {image.mode}" in str(error)
    assert str(error).endswith("Save it with 8 or 16 bits a channel.")


def test_a_bomb_is_refused_before_it_is_decoded():
    bomb = png(np.zeros((1, 1), np.uint8), depth=8, colour=0)
    for width, height in [(10_001, 10_000), (100_000, 100_000), (2**31 - 1, 2**31 - 1)]:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
        error = refusal(bomb[:8] + header + bomb[33:])
        assert error.reason == "too large"
        assert str(error) == "The image cannot be read: it has more than 100 million pixels."


def test_the_limit_and_the_kinds_can_be_narrower():
    content = encoded(Image.fromarray(GREY))
    assert refusal(content, max_pixels=47).reason == "too large"
    assert refusal(content, formats=("JPEG", "GIF")).reason == "unknown kind"
    assert read_image(content, (1, 6, 8), max_pixels=48, formats=("PNG", "GIF")).shape == (1, 6, 8)


def test_a_shape_of_other_channels_is_refused():
    with pytest.raises(zoo.IncompatibleError, match=r"1 or 3 channels; images of \(2, 6, 8\) are asked for"):
        read_image(encoded(Image.fromarray(GREY)), (2, 6, 8))


def test_another_background_is_refused():
    with pytest.raises(zoo.ConfigError, match=r"^background must be 'white', 'black' or None, got 'grey'\.$"):
        read_image(encoded(Image.fromarray(GREY)), (1, 6, 8), background="grey")


def test_pillow_is_imported_when_an_image_is_read_and_keeps_its_own_limit():
    code = (
        "import sys, zoo.data.images; assert 'PIL' not in sys.modules;"
        "import PIL.Image as I; before = I.MAX_IMAGE_PIXELS;"
        "import io; b = io.BytesIO(); I.new('L', (2, 2)).save(b, 'PNG'); zoo.read_image(b.getvalue(), (1, 2, 2));"
        "assert I.MAX_IMAGE_PIXELS == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

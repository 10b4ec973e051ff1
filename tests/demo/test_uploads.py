"""An uploaded file becomes an image of the model's shape, or one line that says why not."""

from __future__ import annotations

import functools
import io
import random
import resource
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from zoo_demo.safety import MAX_BODY_BYTES, RefusedError
from zoo_demo.uploads import MAX_PIXELS, to_image

GREY, COLOUR = (1, 16, 16), (3, 17, 20)


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def flat(mode: str, colour, size=(40, 40)) -> Image.Image:
    return Image.new(mode, size, colour)


def halves(left, right, mode="L", size=(32, 32)) -> Image.Image:
    image = Image.new(mode, size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


def fitted(content: bytes, shape=GREY, *, invert=False) -> np.ndarray:
    image = to_image(content, shape, invert=invert)
    assert image.dtype == np.uint8
    assert image.shape == shape
    return image


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_each_kind_of_file_is_read(form):
    image = fitted(encoded(halves(0, 255), form))[0]
    assert image[:, :6].max() <= 8
    assert image[:, 10:].min() >= 247


def test_an_image_of_the_models_size_is_kept_to_the_bit():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    assert (fitted(encoded(Image.fromarray(pixels)))[0] == pixels).all()


def test_the_middle_is_kept_of_an_image_of_other_proportions():
    wide = np.zeros((16, 48), dtype=np.uint8)
    wide[:, 16:32] = 200
    assert (fitted(encoded(Image.fromarray(wide))) == 200).all()


def test_colour_becomes_grey_for_a_grey_model_and_stays_for_a_coloured_one():
    content = encoded(flat("RGB", (255, 0, 0)))
    assert (fitted(content) == 76).all()  # ITU-R 601: 0.299 of 255
    assert (fitted(content, COLOUR) == np.array([255, 0, 0])[:, None, None]).all()


def test_grey_is_spread_over_the_channels_of_a_coloured_model():
    assert (fitted(encoded(flat("L", 99)), COLOUR) == 99).all()


def test_transparent_parts_are_white():
    assert (fitted(encoded(flat("RGBA", (0, 0, 0, 0)))) == 255).all()
    assert (fitted(encoded(flat("RGBA", (0, 0, 0, 255)))) == 0).all()
    assert (fitted(encoded(flat("LA", (0, 128)))) == 127).all()


def test_a_white_drawing_on_transparent_pixels_shows():
    opacity = halves(0, 255)
    for image in (Image.merge("LA", (flat("L", 255, opacity.size), opacity)), flat("RGBA", "white", opacity.size)):
        image.putalpha(opacity)
        pixels = fitted(encoded(image))[0]
        assert (pixels[:, :7] == 0).all()
        assert (pixels[:, 9:] == 255).all()


def test_a_transparent_palette_colour_is_white():
    image = halves(0, 1, "P")
    image.putpalette([0, 0, 0, 100, 100, 100])
    pixels = fitted(encoded(image, transparency=0))[0]
    assert (pixels[:, :7] == 255).all()
    assert (pixels[:, 9:] == 100).all()


def test_a_palette_is_looked_up_before_resizing():
    image = halves(0, 255, "P")
    image.putpalette([value for index in range(256) for value in [255 - index] * 3])
    pixels = fitted(encoded(image))[0]
    assert (pixels[:, :7] == 255).all()
    assert (pixels[:, 9:] == 0).all()


def test_sixteen_bits_a_pixel_are_scaled_and_not_cut_off():
    pixels = np.full((16, 16), 0x80FF, dtype=np.uint16)
    assert (fitted(encoded(Image.fromarray(pixels))) == 0x80).all()


def test_black_and_white_of_one_bit_is_read():
    assert set(np.unique(fitted(encoded(halves(0, 1, "1", (16, 16)))))) == {0, 255}


def test_cmyk_is_read():
    assert (fitted(encoded(flat("CMYK", (0, 0, 0, 255)), "JPEG")) < 8).all()


def test_an_image_is_turned_as_its_orientation_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise: its left side is what is below
    image = fitted(encoded(halves(0, 255), exif=exif))[0]
    assert image[:6].min() >= 200 or image[10:].min() >= 200
    assert np.ptp(image[0]) == 0


def test_the_first_frame_of_an_animation_counts():
    frames = [flat("L", value) for value in (10, 100, 200)]
    assert (fitted(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == 10).all()


def test_dark_and_bright_are_swapped_on_demand():
    assert (fitted(encoded(flat("L", 30)), invert=True) == 225).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (2, 3)])
def test_sizes_at_the_edge_are_read(size):
    assert (fitted(encoded(flat("L", 50, size))) == 50).all()


def test_a_model_of_other_channels_takes_no_file():
    with pytest.raises(RefusedError, match="have 2 channels"):
        to_image(encoded(flat("L", 0)), (2, 8, 8), invert=False)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, *, depth: int = 8, colour: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data, 1)) + chunk(b"IEND", b"")


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("image.png", encoded(flat("L", 0)))
    return buffer.getvalue()


@functools.cache
def hostile() -> dict[str, bytes]:
    """Return 200 files: of the wrong kind, cut short, corrupted, lying about their size, and bombs."""
    noise = random.Random(0)
    whole = {form: encoded(halves(0, 255, "RGB"), form) for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP")}
    start, rest = whole["PNG"][:33], whole["PNG"][33:]  # behind the header is where other chunks stand
    frames = [flat("L", value, (60, 60)) for value in range(0, 200, 10)]
    files = {
        "empty": b"",
        "zeros": bytes(1000),
        "noise": noise.randbytes(5000),
        "text": b"hello",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><rect/></svg>',
        "svg that reads a file": b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        "html": b"<!doctype html><script>alert(1)</script>",
        "zip": zipped(),
        "tiff": encoded(flat("RGB", 0), "TIFF"),
        "tiff of floats": encoded(flat("F", 0.5), "TIFF"),
        "tiff of numbers": encoded(flat("I", 70_000), "TIFF"),
        "ppm": encoded(flat("RGB", 0), "PPM"),
        "ico": encoded(flat("RGB", 0), "ICO"),
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
        "pdf": encoded(flat("RGB", 0), "PDF"),
        "psd": b"8BPS\x00\x01" + bytes(6) + struct.pack(">HIIHH", 3, 10, 10, 8, 3) + bytes(100),
        "polyglot of gif and javascript": b"GIF89a/*" + bytes(100) + b"*/=1;alert(1)",
        "signature of png alone": b"\x89PNG\r\n\x1a\n",
        "no data": png(10, 10, b""),
        "too little data": png(1000, 1000, bytes(10)),
        "too much data": png(10, 10, bytes(10**6)),
        "no width": png(0, 10, b""),
        "no height": png(10, 0, b""),
        "widest": png(2**31 - 1, 2**31 - 1, b""),
        "wide": png(100_000, 100_000, b""),
        "wider than it may be": png(MAX_PIXELS + 1, 1, b""),
        "a bomb": png(20_000, 20_000, bytes(20_000 * 2501), depth=1),
        "a bomb of colours": png(6000, 6000, bytes(6000 * (1 + 3 * 6000)), colour=2),
        "a bomb of text": start + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7), 1)) + rest,
        "a bomb of a profile": start + chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**7), 1)) + rest,
        "wrong depth": png(10, 10, bytes(200), depth=7),
        "wrong colour": png(10, 10, bytes(200), colour=5),
        "palette that is not there": png(10, 10, bytes(range(110)), colour=3),
        "gif on a larger screen": whole["GIF"][:6] + struct.pack("<HH", 65_535, 65_535) + whole["GIF"][10:],
        "bmp that is wider than its data": whole["BMP"][:18] + struct.pack("<ii", 5000, 5000) + whole["BMP"][26:],
        "bmp upside down": whole["BMP"][:22] + struct.pack("<i", -32) + whole["BMP"][26:],
        "bmp of the lowest height": whole["BMP"][:22] + struct.pack("<i", -(2**31)) + whole["BMP"][26:],
        "animated gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "animated webp": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "animated png": encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "cmyk": encoded(flat("CMYK", (1, 2, 3, 4)), "JPEG"),
        "sixteen bits": encoded(Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16))),
        "1 × 20000": encoded(flat("L", 0, (1, 20_000))),
        "orientation 0": encoded(flat("L", 0), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03" + bytes(9)),
        "metadata that is none": encoded(flat("L", 0), "JPEG", exif=b"Exif\0\0" + noise.randbytes(200)),
    }  # fmt: skip
    for form, content in whole.items():
        for part in range(1, 11):
            files[f"{form} cut at {part}/11"] = content[: len(content) * part // 11]
    number = 0
    while len(files) < 200:
        form, number = noise.choice(list(whole)), number + 1
        damaged = bytearray(whole[form])
        for _ in range(noise.choice([1, 1, 3, 20])):
            damaged[noise.randrange(len(damaged))] = noise.randrange(256)
        files[f"{form} damaged, {number}"] = bytes(damaged)
    return files


def test_two_hundred_hostile_files_each_give_an_image_or_a_line_and_harm_nothing(client):
    files = hostile()
    assert len(files) == 200
    assert max(map(len, files.values())) < MAX_BODY_BYTES
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines = {}
    for name, content in files.items():
        response = client.post("/zoo/models/tiny/upload", content=content)
        if response.status_code == 200:
            assert len(response.content) == 16 * 16, name
            continue
        assert response.status_code in (413, 415, 422), name
        (lines[name],) = response.json().values()
    assert all(line.endswith(".") and "\n" not in line and len(line) < 120 for line in lines.values())
    assert len(lines) > 100
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 600 * 1024  # KiB; the largest image that is decoded takes 160 MB, and a copy
    assert client.post("/zoo/models/tiny/upload", content=encoded(flat("L", 7))).content == bytes([7] * 256)


@pytest.mark.parametrize(
    ("name", "status", "line"),
    [
        ("svg", 415, "no image file of a kind that can be read: PNG, JPEG, WEBP, GIF or BMP."),
        ("PNG cut at 5/11", 422, "damaged, or was cut short."),
        ("wide", 413, "at most 40 million pixels."),
        ("wider than it may be", 413, "at most 40 million pixels."),
    ],
)
def test_the_line_says_what_is_wrong(client, name, status, line):
    response = client.post("/zoo/models/tiny/upload", content=hostile()[name])
    assert response.status_code == status
    assert line in response.json()["error"]


def test_an_upload_is_inverted_on_demand(client):
    content = encoded(flat("L", 7))
    assert client.post("/zoo/models/tiny/upload?invert=1", content=content).content == bytes([248] * 256)
    assert client.post("/zoo/models/tiny/upload?invert=0", content=content).content == bytes([7] * 256)


def test_an_upload_has_the_channels_of_the_model(client):
    response = client.post("/zoo/models/colour/upload", content=encoded(flat("RGB", (1, 2, 3))))
    pixels = np.frombuffer(response.content, np.uint8).reshape(COLOUR)
    assert (pixels == np.array([1, 2, 3])[:, None, None]).all()

"""The gate for pictures: odd ones are loaded to the numbers of their closed form, bad ones get one sentence."""

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from vizlib import files, images
from vizlib.errors import InputError

H, W = 12, 18
BYTES = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
FLOATS = BYTES.astype(np.float32) / 255


def packed(picture, format="PNG", **options):
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def png(header, rows, *chunks):
    """A PNG written by hand, for the kinds that Pillow reads and does not write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    return start + b"".join(chunk(*item) for item in chunks) + data + chunk(b"IEND", b"")


def sentence(function, *arguments, **options):
    """The message of the InputError that the call must raise: one line, one sentence."""
    with pytest.raises(InputError) as caught:
        function(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message and message[-1] in ".?)" and len(message) < 320
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return message


def close(image, expected, tolerance=1e-6):
    assert image.dtype == np.float32 and image.shape == expected.shape
    np.testing.assert_allclose(image, expected, atol=tolerance, rtol=0)


# ---------------------------------------------------------------- shipped data


def test_samples_are_sorted_names_that_load():
    names = images.samples()
    assert len(names) >= 5 and list(names) == sorted(names) and "chelsea" in names
    for name in names:
        images.check(images.load(name, size=32))


def test_data_lie_in_the_package_where_it_has_them(tmp_path, monkeypatch):
    (tmp_path / "vizlib").mkdir()
    monkeypatch.setattr(files, "__file__", str(tmp_path / "vizlib" / "files.py"))
    assert files.data_path("images", "a.jpg") == tmp_path / "data" / "images" / "a.jpg"
    (tmp_path / "vizlib" / "data").mkdir()
    assert files.data_path("images") == tmp_path / "vizlib" / "data" / "images"


def test_import_needs_no_tensorflow():
    code = "import sys, vizlib.images; assert not {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------- pictures that are valid, plain and odd


@pytest.mark.parametrize("source", [bytes, bytearray, memoryview])
def test_an_upload_is_loaded_exactly(source):
    np.testing.assert_array_equal(images.load(source(packed(Image.fromarray(BYTES)))), FLOATS)


@pytest.mark.parametrize("kind", [str, os.fspath, lambda path: path])
def test_a_path_is_loaded_exactly(tmp_path, kind):
    Image.fromarray(BYTES).save(tmp_path / "a b.png")
    np.testing.assert_array_equal(images.load(kind(tmp_path / "a b.png")), FLOATS)


def test_home_directory_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    Image.fromarray(BYTES).save(tmp_path / "a.png")
    np.testing.assert_array_equal(images.load("~/a.png"), FLOATS)


@pytest.mark.parametrize("format", ["BMP", "TIFF", "WEBP", "PPM"])
def test_lossless_formats_are_loaded_exactly(format):
    options = {"lossless": True} if format == "WEBP" else {}
    np.testing.assert_array_equal(images.load(packed(Image.fromarray(BYTES), format, **options)), FLOATS)


def test_no_rescaling_by_extremes():
    dull = np.full((H, W, 3), 100, np.uint8)
    dull[0, 0] = 110
    np.testing.assert_array_equal(images.load(packed(Image.fromarray(dull))), dull.astype(np.float32) / 255)


def test_greyscale_one_bit_and_palette():
    grey = BYTES[..., 0]
    close(images.load(packed(Image.fromarray(grey))), np.dstack([grey / 255] * 3))
    close(images.load(packed(Image.fromarray(grey > 99))), np.dstack([grey > 99] * 3).astype(float))
    palette = Image.fromarray(BYTES).quantize(16)
    close(images.load(packed(palette)), np.asarray(palette.convert("RGB")) / 255)


def test_alpha_is_laid_on_white():
    alpha = np.random.default_rng(1).integers(0, 256, (H, W, 1), dtype=np.uint8)
    expected = BYTES / 255 * (alpha / 255) + 1 - alpha / 255
    close(images.load(packed(Image.fromarray(np.dstack([BYTES, alpha])))), expected)
    grey = np.dstack([BYTES[..., :1] / 255] * 3) * (alpha / 255) + 1 - alpha / 255
    close(images.load(packed(Image.fromarray(np.dstack([BYTES[..., :1], alpha])))), grey)


def test_transparent_palette_entry_and_transparent_colour_become_white():
    index = np.arange(H * W, dtype=np.uint8).reshape(H, W) % 3
    picture = Image.fromarray(index).copy()
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    colours = np.array([[1, 0, 0], [1, 1, 1], [0, 0, 1]], float)
    for format in ("PNG", "GIF"):
        close(images.load(packed(picture, format, transparency=1)), colours[index])
    close(images.load(packed(picture, "PNG", transparency=b"\xff\x66\xff")),
          np.where(index[..., None] == 1, [0.6, 1, 0.6], colours[index]))  # fmt: skip
    plain = packed(picture.convert("RGB"), transparency=(0, 255, 0))
    close(images.load(plain), colours[index])


def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = np.random.default_rng(2).integers(0, 65536, (H, W), dtype=np.uint16)
    values[0, :2] = 0, 65535
    expected = np.dstack([values / 65535] * 3)
    for format in ("PNG", "TIFF"):
        close(images.load(packed(Image.fromarray(values), format)), expected)
    close(images.load(packed(Image.fromarray(values.astype(">u2")), "TIFF")), expected)
    rows = [row.astype(">u2").tobytes() for row in values]
    seen = png((W, H, 16, 0), rows, (b"tRNS", struct.pack(">H", int(values[3, 4]))))
    expected[values == values[3, 4]] = 1
    close(images.load(seen), expected)


def test_sixteen_bit_colour_keeps_its_upper_eight_bits():
    values = np.random.default_rng(3).integers(0, 65536, (H, W, 3), dtype=np.uint16)
    image = images.load(png((W, H, 16, 2), [row.astype(">u2").tobytes() for row in values]))
    close(image, (values >> 8) / 255)
    assert np.abs(image - values / 65535).max() < 1 / 255


def test_float_tiff_in_range_is_taken_as_it_is():
    close(images.load(packed(Image.fromarray(FLOATS[..., 0]), "TIFF")), np.dstack([FLOATS[..., 0]] * 3))


def test_cmyk_and_adobe_jpeg_in_inverted_cmyk():
    inks = np.array([[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255], [90, 0, 200, 60]])
    blocks = np.repeat(np.repeat(inks[None].astype(np.uint8), 16, axis=0), 16, axis=1)
    cmyk = Image.frombytes("CMYK", (96, 16), blocks.tobytes())
    expected = (1 - blocks[..., :3] / 255) * (1 - blocks[..., 3:] / 255)
    close(images.load(packed(cmyk, "TIFF")), expected, tolerance=1.01 / 255)
    adobe = packed(cmyk, "JPEG", quality=100)  # Pillow writes CMYK as Adobe does: inverted, with the Adobe marker
    assert b"Adobe" in adobe
    close(images.load(adobe), expected, tolerance=4 / 255)


def test_ycbcr_jpeg_and_tiff():
    smooth = np.asarray(Image.fromarray(BYTES[:2, :3]).resize((48, 32), Image.Resampling.BICUBIC))
    close(images.load(packed(Image.fromarray(smooth), "JPEG", quality=100, subsampling=0)), smooth / 255, 4 / 255)
    ycbcr = Image.fromarray(smooth).convert("YCbCr")
    close(
        images.load(packed(ycbcr, "TIFF", compression="tiff_lzw")), np.asarray(ycbcr.convert("RGB")) / 255, 1.01 / 255
    )


# what an upright picture must be stored as so that the EXIF orientation turns it upright again
STORED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[::-1],
    7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
    8: lambda x: x.swapaxes(0, 1)[:, ::-1],
}


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_rotation_is_undone(orientation, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](BYTES)))
    np.testing.assert_array_equal(images.load(packed(stored, format, exif=exif)), FLOATS)


def test_jpeg_turned_by_a_camera_and_a_jpeg_with_broken_exif():
    blocks = np.zeros((32, 64, 3), np.uint8)
    blocks[:, 32:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: the stored left edge is the top
    turned = images.load(packed(Image.fromarray(blocks), "JPEG", exif=exif))
    assert turned.shape == (64, 32, 3) and turned[:30].max() < 0.1 and turned[34:].min() > 0.9
    broken = packed(Image.fromarray(blocks), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\1" * 40)
    assert images.load(broken).shape == (32, 64, 3)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(format):
    frames = [Image.new("RGB", (W, H), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = packed(frames[0], format, save_all=True, append_images=frames[1:], **options)
    close(images.load(data), np.ones((H, W, 1)) * [1, 0, 0])


def test_loading_odd_pictures_prints_no_warning():
    picture = Image.fromarray(BYTES).quantize(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images.load(packed(picture, transparency=b"\0\x80\xff\xff"))


# ---------------------------------------------------------------- what is refused


def test_missing_file_and_misspelt_sample_name_the_near_ones(tmp_path):
    assert "did you mean chelsea" in sentence(images.load, "chelsae")
    assert "chelsea" in sentence(images.load, "chelsea.jpeg")
    assert "check the path" in sentence(images.load, tmp_path / "none.jpg")
    assert "check the path" in sentence(images.load, "")
    assert "check the path" in sentence(images.load, "a\0b")


def test_a_path_object_is_never_a_sample():
    from pathlib import Path

    assert "missing file" in sentence(images.load, Path("chelsea"))


def test_folder_pipe_and_other_things_are_named(tmp_path):
    assert f"{tmp_path.name}' is a folder" in sentence(images.load, tmp_path)
    assert "ndarray" in sentence(images.load, FLOATS)
    assert "NoneType" in sentence(images.load, None)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "pipe" in sentence(images.load, tmp_path / "pipe")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind this user")
def test_file_that_may_not_be_read(tmp_path):
    (tmp_path / "a.png").write_bytes(packed(Image.fromarray(BYTES)))
    (tmp_path / "a.png").chmod(0)
    assert "Permission" in sentence(images.load, tmp_path / "a.png")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"\0" * 99,
    ],
)
def test_no_picture(data, tmp_path):
    (tmp_path / "a.jpg").write_bytes(data)
    assert sentence(images.load, data).startswith("The uploaded file is not a picture")
    message = sentence(images.load, tmp_path / "a.jpg")
    assert "a.jpg' is not a picture" in message and "save it as JPEG or PNG" in message


def test_postscript_is_never_opened():
    assert "is not a picture" in sentence(images.load, packed(Image.fromarray(BYTES), "EPS"))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_truncated_picture(format):
    data = packed(Image.fromarray(np.kron(BYTES, np.ones((4, 4, 1), np.uint8))), format)
    for share in (0.5, 0.9):
        assert "copy it again" in sentence(images.load, data[: int(share * len(data))]) or format == "TIFF"


def test_altered_picture_never_escapes_the_gate():
    random = np.random.default_rng(4)
    whole = [packed(Image.fromarray(BYTES), format) for format in ("JPEG", "PNG", "GIF", "BMP", "WEBP")]
    for trial in range(300):
        data = bytearray(whole[trial % len(whole)])
        data[random.integers(len(data))] = random.integers(256)
        try:
            images.check(images.load(bytes(data)))
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("width, height", [(1, 1), (7, 100), (100, 7)])
def test_too_small(width, height):
    message = sentence(images.load, packed(Image.new("RGB", (width, height))))
    assert message.startswith(f"The uploaded file has only {width}×{height} pixels")


def test_smallest_is_loaded():
    assert images.load(packed(Image.new("RGB", (8, 8)))).shape == (8, 8, 3)


@pytest.mark.parametrize("width, height", [(7072, 7072), (900, 60_000), (10_000, 9_000), (60_000, 60_000)])
def test_too_large_is_told_from_the_header_alone(width, height):
    header_only = png((width, height, 8, 2), [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "50 megapixels" in sentence(images.load, header_only)


def test_fifty_megapixels_are_not_too_many():
    assert "cannot be read whole" in sentence(images.load, png((50_000, 1000, 8, 2), []))


def test_modes_without_a_known_white():
    assert "mode I" in sentence(images.load, packed(Image.fromarray(np.full((H, W), 70000, np.int32)), "TIFF"))
    assert "mode LAB" in sentence(images.load, packed(Image.new("LAB", (W, H)), "TIFF"))
    for wrong in (-1, 300, np.nan):
        grey = FLOATS[..., 0].copy()
        grey[2, 3] = wrong
        message = sentence(images.load, packed(Image.fromarray(grey), "TIFF"))
        assert message.startswith("The uploaded file has values") and "outside [0, 1]" in message


def test_long_and_strange_names_are_shortened_and_escaped(tmp_path):
    name = tmp_path / ("x" * 150 + "\n<b>.png")
    name.write_bytes(b"nothing")
    message = sentence(images.load, name)
    assert len(message) < 200 and "\\n<b>.png" in message


# ---------------------------------------------------------------- resize


def test_load_with_size_is_the_centre_square():
    wide = np.zeros((40, 100, 3), np.uint8)
    wide[:, 30:70] = 200
    image = images.load(packed(Image.fromarray(wide)), size=16)
    close(image, np.full((16, 16, 3), 200 / 255))
    close(images.load(packed(Image.fromarray(wide.swapaxes(0, 1))), size=16), image)


def test_resize_keeps_its_own_size_exactly():
    square = FLOATS[:, 3:15]
    np.testing.assert_array_equal(images.resize(FLOATS, H), square)


def test_resize_is_antialiased_and_keeps_constants():
    checker = np.indices((64, 64)).sum(axis=0) % 2
    close(images.resize(np.dstack([checker] * 3), 16)[2:-2, 2:-2], np.full((12, 12, 3), 0.5), tolerance=0.01)
    close(images.resize(np.full((31, 31, 3), 0.3), 77), np.full((77, 77, 3), 0.3))


def test_resize_of_a_ramp_has_no_eight_bit_steps():
    ramp = np.broadcast_to(np.linspace(0.4, 0.41, 64, dtype=np.float32)[None, :, None], (64, 64, 3))
    column = images.resize(ramp, 32)[16, 4:-4, 0]
    np.testing.assert_allclose(np.diff(column), 0.01 * 2 / 63, rtol=0.02)


def test_resize_overshoot_is_clipped():
    edge = np.zeros((16, 16, 3), np.float32)
    edge[:, 8:] = 1
    image = images.resize(edge, 64)
    assert image.min() == 0 and image.max() == 1


def test_resize_is_sharper_than_interpolation():
    edge = np.full((16, 16, 3), 0.25, np.float32)
    edge[:, 8:] = 0.75
    image = images.resize(edge, 64)
    assert image.max() > 0.77 and image.min() < 0.23  # the negative lobes of Lanczos


@pytest.mark.parametrize("size", [0, -3, 7, 5000, 2.5, float("nan"), "224", True, (3, 4)])
def test_wrong_size(size):
    message = sentence(images.resize, FLOATS, size)
    assert repr(size) in message and "size=224" in message
    assert sentence(images.load, packed(Image.fromarray(BYTES)), size=size) == message


def test_numpy_integer_is_a_size():
    assert images.resize(FLOATS, np.int64(9)).shape == (9, 9, 3)


# ---------------------------------------------------------------- check


@pytest.mark.parametrize("like", [np.float64, np.float16, list])
def test_check_gives_float32(like):
    image = FLOATS.tolist() if like is list else FLOATS.astype(like)
    close(images.check(image), FLOATS, tolerance=1e-3)


def test_check_does_not_copy_and_tolerates_a_millionth():
    assert images.check(FLOATS) is FLOATS
    images.check(FLOATS * 0 + 1 + 5e-7)
    sentence(images.check, FLOATS * 0 + 1 + 5e-6)
    sentence(images.check, FLOATS * 0 - 5e-6)


@pytest.mark.parametrize(
    "image, advice",
    [
        (BYTES, "divide by 255"),
        (BYTES.astype(np.float32), "divide by 255"),
        (FLOATS * 2 - 1, "undo its preprocessing"),
        (BYTES - np.array([124.0, 117, 104]), "undo its preprocessing"),
        (np.where(FLOATS > 0.5, np.nan, FLOATS), "from nan"),
        (np.where(FLOATS > 0.5, np.inf, FLOATS), "to inf"),
        (FLOATS[None], "pass image[0]"),
        (FLOATS[..., 0], "np.dstack([image] * 3)"),
        (FLOATS[..., :1], "three colours come last"),
        (FLOATS.transpose(2, 0, 1), "three colours come last"),
        (np.dstack([FLOATS, FLOATS[..., :1]]), "three colours come last"),
        (FLOATS[:0], "has shape (0, 18, 3)"),
        (0.5, "has shape ()"),
        ("chelsea", "not an array of numbers"),
        ([[1, 2], [3]], "not an array of numbers"),
        (object(), "not an array of numbers"),
    ],
)
def test_check_tells_what_is_wrong(image, advice):
    message = sentence(images.check, image, name="start")
    assert message.startswith("start ") and advice in message


# ---------------------------------------------------------------- out


def test_to_uint8_rounds_and_clips():
    values = np.array([-0.2, 0, 0.4 / 255, 0.6 / 255, 0.5, 254.6 / 255, 1, 1.3])
    np.testing.assert_array_equal(images.to_uint8(values), [0, 0, 0, 1, 128, 255, 255, 255])
    np.testing.assert_array_equal(images.to_uint8(FLOATS), BYTES)


def test_png_round_trip_is_within_half_a_step():
    image = np.random.default_rng(5).random((H, W, 3), dtype=np.float32)
    close(images.load(images.encode(image)), image, tolerance=0.5 / 255 + 1e-6)
    np.testing.assert_array_equal(images.load(images.encode(FLOATS)), FLOATS)


def test_encode_formats():
    assert images.encode(FLOATS)[:4] == b"\x89PNG"
    for format in ("jpeg", "jpg"):
        assert images.encode(FLOATS, format=format)[:3] == b"\xff\xd8\xff"
    assert "jpeg" in sentence(images.encode, FLOATS, format="jpe")


def test_jpeg_keeps_the_colours_of_single_pixels():
    stripes = np.zeros((16, 16, 3), np.float32)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 1
    close(images.load(images.encode(stripes, format="jpeg")), stripes, tolerance=0.15)


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".jpeg"])
def test_save_makes_the_folder_and_leaves_nothing_else(tmp_path, suffix):
    path = tmp_path / "new" / "deep" / f"a{suffix}"
    smooth = images.resize(np.linspace(0, 1, 8 * 8 * 3).reshape(8, 8, 3), 32)
    images.save(smooth, path)
    images.save(smooth, str(path))
    close(images.load(path), smooth, tolerance=0.5 / 255 + 1e-6 if suffix.lower() == ".png" else 8 / 255)
    assert list(path.parent.iterdir()) == [path]


def test_save_keeps_the_old_picture_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    images.save(FLOATS, path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert "No space left" in sentence(images.save, 1 - FLOATS, path)
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(images.load(path), FLOATS)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_saved_file_has_the_mode_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    images.save(FLOATS, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_save_refuses_in_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    assert "give another folder" in sentence(images.save, FLOATS, tmp_path / "file" / "a.png")
    (tmp_path / "folder.png").mkdir()
    assert "give another folder" in sentence(images.save, FLOATS, tmp_path / "folder.png")
    assert "png, jpeg, jpg" in sentence(images.save, FLOATS, tmp_path / "a.xyz")
    assert "divide by 255" in sentence(images.save, BYTES, tmp_path / "a.png")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder.png"}

"""Kinds of files that are not readable images, with advice for an error message."""

from contextlib import suppress

from PIL import Image

STARTS = (  # first bytes of a file, its kind, and advice
    (b"version https://git-lfs", "a git-lfs pointer", "fetch the file with `git lfs pull`"),
    (b"\x1f\x8b", "gzip", "unpack it first"),
    (b"BZh", "bzip2", "unpack it first"),
    (b"\xfd7zXZ\0", "xz", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"Rar!", "a rar archive", "unpack it first"),
    (b"PK\x03\x04", "a zip archive or a document", "unpack it first"),
    (b"%PDF", "a PDF", "export its page as .png"),
    (b"%!", "PostScript", "export it as .png"),
    (b"\xc5\xd0\xd3\xc6", "PostScript", "export it as .png"),
    (b"8BPS", "a Photoshop document", "export it as .tif or .png"),
    (b"gimp xcf", "a GIMP document", "export it as .tif or .png"),
    (b"\xff\x0a", "JPEG XL", "convert it to .png"),
    (b"\0\0\0\x0cJXL ", "JPEG XL", "convert it to .png"),
    (b"\x76\x2f\x31\x01", "OpenEXR", "convert it to .png or .tif"),
    (b"#?RADIANCE", "Radiance HDR", "convert it to .png or .tif"),
    (b"II*\0\x10\0\0\0CR", "a raw photograph", "develop it to .jpg or .tif"),
    (b"FUJIFILMCCD-RAW", "a raw photograph", "develop it to .jpg or .tif"),
    (b"IIRO", "a raw photograph", "develop it to .jpg or .tif"),
    (b"IIU\0", "a raw photograph", "develop it to .jpg or .tif"),
    (b"\xd0\xcf\x11\xe0", "an Office document", "export its page or picture as .png"),
    (b"{\\rtf", "a text document", "export its page or picture as .png"),
    (b"ID3", "an audio file", "give a picture"),
    (b"OggS", "an audio file", "give a picture"),
    (b"fLaC", "an audio file", "give a picture"),
    (b"GGUF", "a language model", "give a picture"),
    (b"\x7fELF", "a program", "give a picture"),
    (b"MZ", "a program", "give a picture"),
    (b"SQLite format 3", "a database", "give a picture"),
    (b"\x93NUMPY", "a NumPy array", "save it as .png or .tif"),
    (b"\x89HDF", "HDF5", "export it as .png or .tif"),
    (b"\x1a\x45\xdf\xa3", "a video", "export a frame of it"),
)
BRANDS = {  # of ISO base media files, after `ftyp`
    **dict.fromkeys(
        [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"],
        ("HEIC", "install its decoder with `pip install pillow-heif` (1.7 or later)"),
    ),
    **dict.fromkeys([b"avif", b"avis"], ("AVIF", "install a Pillow that has its decoder")),
    b"crx ": ("a raw photograph", "develop it to .jpg or .tif"),
}
LENGTH = 512  # bytes needed


def kind_of(head: bytes) -> tuple[str, str]:
    """(kind of a file, advice) from its first `LENGTH` bytes; empty if it is unknown."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "empty", "get a fresh copy"
    if not head.strip(b"\0"):
        return "nothing but zeros", "get a fresh copy"
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12], ("a video", "export a frame of it"))
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it first"
    if head[8:10] == b'{"':
        return "safetensors weights, such as a LoRA or a style pack", "give a picture"
    if head[128:132] == b"DICM":
        return "DICOM", "export it as .png or .tif"
    if b"<svg" in text:
        return "an SVG drawing", "export it as .png"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<script")):
        return "a web page", "save the picture itself"
    if head[:4] == b"RIFF" and head[8:12] != b"WEBP":
        return "a video or an audio file", "export a frame of it"
    known = ((kind, advice) for start, kind, advice in STARTS if head.startswith(start))
    return next(known, ("a text file", "give the picture itself") if _is_text(head) else ("", ""))


def _is_text(head: bytes) -> bool:
    """Whether bytes, which may end within a character, are printable UTF-8 or UTF-16."""
    marked = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = head.decode("utf-16" if marked else "utf-8", errors="replace").rstrip("\ufffd")
    return "\ufffd" not in text and all(c.isprintable() or c.isspace() for c in text)


def known_to_pillow(head: bytes) -> str:
    """Pillow's name of a file's format by its first bytes, without decoding."""
    Image.init()
    for name, (_, accept) in Image.OPEN.items():
        with suppress(Exception):  # some need more bytes than a short file has
            if accept and accept(head[:16]):
                return name
    return ""

"""The cache of saved machines (tests/nested/nested.py): what tells one, how many are kept, and that
several processes may use it."""
import multiprocessing
import shutil
import time

import pytest

import nested
from nested import Image, Unavailable


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(nested, "CACHE", tmp_path / "cache")
    return nested.CACHE


@pytest.fixture
def make(kernel, cache):
    """A function that makes an Image of the kernel, or of another."""
    def image(path=kernel):
        try:
            return Image(path)
        except Unavailable as why:
            pytest.skip(str(why))
    return image


@pytest.fixture
def made(monkeypatch):
    """The names of those that were made, without what takes long: they hold a word."""
    names = []

    def quickly(image, _):
        names.append(image.initramfs.name)
        image.initramfs.write_text("initramfs")
        image.saved.write_text("saved machine")
    monkeypatch.setattr(Image, "make_initramfs", quickly)
    return names


def copy(kernel, folder, suffix=b""):
    """The unpacked package elsewhere, as far as it is needed, with something behind the kernel."""
    there = folder / "boot" / kernel.name
    there.parent.mkdir(parents=True)
    there.write_bytes(kernel.read_bytes() + suffix)
    root = kernel.resolve().parent.parent
    for name in nested.MODULES:
        for path in root.glob(f"lib/modules/*/kernel/{name}.ko"):
            to = folder / path.relative_to(root)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
    return there


def test_told_by_content(make, made, kernel, tmp_path, monkeypatch):
    """The same files elsewhere are the same machine; another kernel or init is another."""
    first = make()
    assert make(copy(kernel, tmp_path / "same")).initramfs == first.initramfs
    assert len(made) == 1
    assert make(copy(kernel, tmp_path / "other", b"\0")).initramfs != first.initramfs
    here = tmp_path / "here"
    here.mkdir()
    (here / "init").write_bytes((nested.HERE / "init").read_bytes() + b"\n")
    monkeypatch.setattr(nested, "HERE", here)
    assert make().initramfs != first.initramfs
    assert len(set(made)) == 3 and first.initramfs.exists() and first.saved.exists()


def test_keeps_those_used_last(make, made, cache, monkeypatch):
    """And nothing else: not what a process left that was killed, nor a file of old."""
    images = []
    for megabytes in range(nested.KEPT + 2):
        monkeypatch.setattr(nested, "DISK_BYTES", megabytes << 20)
        images.append(make())
        monkeypatch.setattr(nested, "DISK_BYTES", 0)
        make()  # is used again and again
        (cache / "0123456789abcdef.part").touch()
    assert len(made) == nested.KEPT + 2  # the first was never made again
    kept = images[:1] + images[-nested.KEPT + 1:]
    monkeypatch.setattr(nested, "DISK_BYTES", 0)
    make()
    assert {path.name for path in cache.iterdir()} == \
        {"lock"} | {path.name for image in kept for path in (image.initramfs, image.saved)}


def test_made_once(make, cache, monkeypatch):
    """Of processes that come at once, one makes the machine; the others wait and take it."""
    def slowly(image, _):
        part = image.initramfs.with_suffix(".part")
        with open(part, "x", encoding="ascii") as file:
            time.sleep(0.5)
            file.write("initramfs")
        made.put(image.initramfs.name)
        part.rename(image.initramfs)
    monkeypatch.setattr(Image, "make_initramfs", slowly)
    fork = multiprocessing.get_context("fork")
    made = fork.Queue()
    others = [fork.Process(target=make) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join(600)
    assert [other.exitcode for other in others] == [0, 0, 0]
    assert made.get(timeout=600) in {path.name for path in cache.iterdir()} and made.empty()

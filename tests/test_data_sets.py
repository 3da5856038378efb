"""Data sets of one's own: IDX files (generated here, and marked as such), NumPy files, tensors."""

import gzip
import struct

import numpy as np
import pytest
import torch

import unvanish as uv
from unvanish.core.errors import DataError, RecipeError
from unvanish.data.idx import read_idx
from unvanish.data.images import OWN
from unvanish.data.messages import data_in_file, packed_data
from unvanish.data.packed import PACKED, packed

SIDE, CLASSES = 6, 3


def generated(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise with a bright row, which is the class; no published data set."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count).astype(np.uint8)
    images = random.integers(0, 60, (count, SIDE, SIDE)).astype(np.uint8)
    images[np.arange(count), labels] = 250
    return images, labels


def idx(values: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape) + values.tobytes()


def idx_files(folder, *, prefix="", pack=False):
    for part, count, seed in (("train", 120, 0), ("test" if prefix else "t10k", 30, 1)):
        for what, values in zip(("images", "labels"), generated(count, seed), strict=True):
            name = f"{prefix}{part}-{what}-idx{3 if what == 'images' else 1}-ubyte"
            content = idx(values)
            if pack:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
    return folder


def of_tensors() -> uv.DataSet:
    return uv.DataSet.of(generated(120, 0), generated(30, 1), "generated")


@pytest.mark.parametrize("pack", [False, True])
def test_a_folder_of_idx_files_holds_what_was_written(tmp_path, pack):
    found = uv.load_data(idx_files(tmp_path, pack=pack))
    images, labels = generated(120, 0)
    assert np.array_equal(found.train.pixels_ND.numpy(), images.reshape(120, -1))
    assert found.test.labels_N.tolist() == generated(30, 1)[1].tolist()
    assert found.train.labels_N.dtype is torch.int64
    assert (found.inputs, found.classes) == (SIDE * SIDE, CLASSES)
    assert labels.tolist() == found.train.labels_N.tolist()


def test_a_folder_of_several_sets_is_asked_for_one(tmp_path):
    idx_files(tmp_path, prefix="emnist-letters-")
    idx_files(tmp_path, prefix="emnist-digits-")
    with pytest.raises(DataError, match=r"emnist-digits, emnist-letters: name one of them"):
        uv.load_data(tmp_path)
    assert uv.load_data(tmp_path / "emnist-digits").name.startswith("emnist-digits@")
    with pytest.raises(DataError, match="holds the sets"):
        uv.load_data(tmp_path / "emnist-mnist")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "no IDX file of unsigned bytes"),
        (b"\0\0\x08\x03\0\0", "cut off in its header"),
        (idx(np.ones((2, 3), np.uint8))[:-1], "says that it has 2×3 values, and has 5"),
        (b"\0\0\x08\x01\xff\xff\xff\xff", "says that it has"),
    ],
)
def test_files_that_are_no_idx_are_told(tmp_path, content, told):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=told):
        read_idx(tmp_path / "x")


def test_a_packed_file_that_is_cut_off_is_told(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx(np.ones(9, np.uint8)))[:-3])
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "x.gz")


def test_missing_files_are_named(tmp_path):
    idx_files(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="lacks test-labels"):
        uv.load_data(tmp_path)


def test_a_numpy_file(tmp_path):
    (x, y), (xt, yt) = generated(120, 0), generated(30, 1)
    np.savez(tmp_path / "mine.npz", x_train=x / 255, y_train=y, x_test=xt / 255, y_test=yt)
    found = uv.load_data(tmp_path / "mine.npz")
    assert found.name.startswith("mine@")
    assert found.train.pixels_ND.dtype is torch.float32
    assert torch.allclose(found.train.pixels_ND * 255, torch.from_numpy(x).reshape(120, -1).float())


def test_a_numpy_file_is_never_unpickled(tmp_path):
    np.savez(tmp_path / "bad.npz", x_train=np.array([{}], object), y_train=[0], x_test=[[1]], y_test=[0])
    with pytest.raises(DataError, match="cannot be read"):
        uv.load_data(tmp_path / "bad.npz")
    np.savez(tmp_path / "less.npz", x_train=[[1]])
    with pytest.raises(DataError, match="lacks y_train, x_test, y_test"):
        uv.load_data(tmp_path / "less.npz")
    np.save(tmp_path / "one.npy", [1])
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(DataError, match="one array"):
        uv.load_data(tmp_path / "one.npz")


@pytest.mark.parametrize(
    ("train", "told"),
    [
        (([[1.0]], [0.5]), "whole numbers"),
        (([[1.0]], [-1]), "whole numbers"),
        (([[1]], [0]), "uint8"),
        (([[1.0]], [10**12]), "at most"),
        (([[1.0], [1.0, 2.0]], [0, 0]), "no array of numbers"),
        (([[1.0]], [0, 1]), r"need labels of shape \[1\]"),
        (([1.0], [0]), r"shape \[N, …\]"),
        (([[float("nan")]], [0]), "NaN"),
        (([[1.0, 2.0]], [0]), "one size"),
        (3, "a pair"),
        ((["a"], [0]), "no array of numbers"),
    ],
)
def test_what_is_no_data_set_is_refused(train, told):
    with pytest.raises(DataError, match=told):
        uv.DataSet.of(train, ([[1.0]], [0]))


def test_the_name_follows_the_content():
    one, other = of_tensors(), uv.DataSet.of(generated(120, 2), generated(30, 1), "generated")
    assert one.name == of_tensors().name != other.name
    assert one.name.startswith("generated@")


def test_a_recipe_is_trained_on_it_and_knows_it(tmp_path):
    data = of_tensors()
    recipe = uv.baseline(data=data, hidden=(16,), activation="ReLU", init_std=None, epochs=30, batch=10)
    record = uv.run(recipe, store=tmp_path / "store")
    assert record.outcome.last_val_acc == 1.0  # one row of six is bright, and tells the class
    assert uv.Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    del OWN[data.name]
    with pytest.raises(DataError, match=r"is not loaded"):
        uv.run(recipe)
    of_tensors()
    assert uv.run(recipe, store=tmp_path / "store").outcome == record.outcome


def test_a_network_that_does_not_fit_is_refused():
    with pytest.raises(RecipeError, match="inputs of 36 numbers and 3 classes"):
        uv.run(uv.baseline(epochs=1).but(data=of_tensors().name))


def test_a_split_for_selection_leaves_the_test_images_alone():
    data = of_tensors()
    chosen = data.for_selection(20)
    assert len(chosen.train) == 100
    assert torch.equal(chosen.test.pixels_ND, data.train.pixels_ND[100:])
    assert torch.equal(chosen.train.labels_N, data.train.labels_N[:100])
    with pytest.raises(DataError, match="cannot be held out"):
        data.for_selection(120)


def test_a_held_out_split_is_what_is_evaluated():
    data = of_tensors()
    made = uv.DataSet(data.name, data.train.first(100), data.train.last(20))
    OWN[data.name] = made
    recipe = uv.baseline(data=data.name, hidden=(8,), epochs=2, batch=10)
    by_hand = uv.run(recipe).curve
    OWN[data.name] = data
    held = uv.run(recipe.but(held_out=20)).curve
    assert {k: v for k, v in held.items() if k != "seconds"} == {k: v for k, v in by_hand.items() if k != "seconds"}
    assert recipe.but(held_out=20).digest() != recipe.digest()


def test_recipes_keep_the_digests_of_before_there_was_a_held_out_split():
    assert uv.method("5").digest().startswith("e659d07044d3")


def test_a_data_set_comes_to_another_process_whole(tmp_path):
    data = of_tensors()
    (tmp_path / "data").write_bytes(packed_data(data))
    there = data_in_file(tmp_path / "data", data.name)
    assert torch.equal(there.train.pixels_ND, data.train.pixels_ND)
    assert torch.equal(there.test.labels_N, data.test.labels_N)


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(DataError, match=r"did you mean 'kmnist'"):
        uv.load_data("kmnits")


def test_mnist_is_taken_from_the_cache_only_where_its_sums_are_right(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    idx_files(tmp_path, pack=True)  # generated, so that the published sums cannot be right
    monkeypatch.setitem(PACKED, "mnist", type(PACKED["mnist"])(("http://127.0.0.1:9/",), PACKED["mnist"].files))
    cache = tmp_path / "unvanish" / "mnist"
    cache.mkdir(parents=True, mode=0o700)
    for path in tmp_path.glob("*.gz"):
        path.rename(cache / path.name)
    with pytest.raises(DataError, match="mnist cannot be had"):
        packed("mnist")
    import hashlib

    sums = {p.name: (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_size) for p in cache.glob("*.gz")}
    monkeypatch.setitem(PACKED, "mnist", type(PACKED["mnist"])((), sums))
    assert packed("mnist").name == "mnist"
    assert packed("mnist").classes == CLASSES

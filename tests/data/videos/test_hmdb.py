import pytest

from hashcenters.data.videos.hmdb import hmdb51

# Names as in the archive: the lists part at the last space only, and no character stands for another.
ODD = [
    "#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi",
    "(Rad)Schlag_die_Bank!_cartwheel_f_cm_np1_le_med_0.avi",
    "Bob&Tom's_[HQ]_walk;_f_cm_np1_ba_bad_1.avi",
    "a video 1 with spaces 2.avi",
    "50%_*=+@{x},~$.avi",
]


def archive(root, *, classes=("wave", "brush_hair", "clap"), n_train=3, n_test=2, folder="hmdb51_org"):
    """Videos without content, and three splits whose test videos differ; one video a split is unused."""
    lists = root / "testTrainMulti_7030_splits"
    lists.mkdir(parents=True)
    n = n_train + n_test + 1
    for name in classes:
        place = root / folder / name
        place.mkdir(parents=True)
        videos = [*ODD, *(f"plain_{name}_{k}.avi" for k in range(n))][:n]
        for video in videos:
            (place / video).touch()
        uses = [2] * n_test + [0] + [1] * n_train
        for split in (1, 2, 3):
            lines = [f"{video} {uses[(k + split) % n]} \n" for k, video in enumerate(videos)]
            (lists / f"{name}_test_split{split}.txt").write_text("".join(lines))
    return root


@pytest.mark.parametrize("folder", ["hmdb51_org", "."])
@pytest.mark.parametrize("split", [1, 2, 3])
def test_every_split_of_the_unpacked_archive(tmp_path, folder, split):
    splits = hmdb51(archive(tmp_path, folder=folder), split=split)
    assert (splits.name, splits.top_k, splits.skipped) == ("hmdb51", 70, ())
    assert splits.train.class_names == ("brush_hair", "clap", "wave")
    assert splits.train is splits.database
    assert splits.train.labels.bincount().tolist() == [3] * 3
    assert splits.queries.labels.bincount().tolist() == [2] * 3
    uses = [2, 2, 0, 1, 1, 1]
    for items, use in ((splits.train, 1), (splits.queries, 2)):
        for row, (path, label) in enumerate(zip(items.paths, items.labels.tolist(), strict=True)):
            assert path.split("/")[-2] == items.class_names[label]
            assert path.startswith("hmdb51_org/") == (folder == "hmdb51_org")
            assert items.absolute(row).is_file()
            place = ([*ODD, path.split("/")[-1]]).index(path.split("/")[-1])
            assert uses[(place + split) % 6] == use
    assert splits.counts()["train_in_database"] == 9


def test_splits_differ(tmp_path):
    archive(tmp_path)
    assert len({hmdb51(tmp_path, split=split).queries.paths for split in (1, 2, 3)}) == 3


def test_the_papers_counts(tmp_path):
    classes = [f"class_{k:02}" for k in range(51)]
    lists = tmp_path / "testTrainMulti_7030_splits"
    lists.mkdir()
    for name in classes:
        (tmp_path / name).mkdir()
        lines = [f"{k}.avi {1 + (k >= 70)}" for k in range(100)]
        (lists / f"{name}_test_split1.txt").write_text("\r\n".join(lines))
        for k in range(100):
            (tmp_path / name / f"{k}.avi").touch()
    splits = hmdb51(tmp_path)
    assert (len(splits.train), len(splits.queries), len(splits.database)) == (3570, 1530, 3570)
    report = splits.report()
    assert "51 classes" in report
    assert "- train: 70 more items than the paper (3,570, not 3,500)." in report
    assert "the paper rounds: each split has 3,570 and 1,530 videos." in report
    assert "- all of the training items are in the database." in report


def test_missing_videos_stop_or_are_skipped(tmp_path):
    archive(tmp_path)
    train = hmdb51(tmp_path).train
    train.absolute(0).unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 15 videos are missing in '.*': .hmdb51_org/brush_hair/"):
        hmdb51(tmp_path)
    splits = hmdb51(tmp_path, on_missing="skip")
    assert splits.skipped == train.paths[:1]
    assert splits.train.paths == train.paths[1:]
    assert len(splits.queries) == 6
    with pytest.raises(ValueError, match='on_missing must be "stop" or "skip"'):
        hmdb51(tmp_path, on_missing="random")


def test_unused_videos_may_be_absent(tmp_path):
    archive(tmp_path)
    for file in (tmp_path / "testTrainMulti_7030_splits").glob("*_split1.txt"):
        for line in file.read_text().splitlines():
            video, use = line.rsplit(maxsplit=1)
            if use == "0":
                (tmp_path / "hmdb51_org" / file.name[: -len("_test_split1.txt")] / video).unlink()
    assert len(hmdb51(tmp_path).train) == 9


def test_absent_data_shows_the_layout(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"testTrainMulti_7030_splits' does not exist\. The expected layout is\n"
    ):
        hmdb51(tmp_path)
    archive(tmp_path)
    for file in (tmp_path / "testTrainMulti_7030_splits").glob("*_split3.txt"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r"brush_hair_test_split3.txt' does not exist\. The expected"):
        hmdb51(tmp_path, split=3)
    (tmp_path / "hmdb51_org").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"hmdb51_org/brush_hair' does not exist\. The expected layout is\n"):
        hmdb51(tmp_path)


@pytest.mark.parametrize("line", ["a.avi", "a.avi 3", "a.avi one", "1", "", "../a.avi 1", ".. 1", "clap\\a.avi 1"])
def test_bad_lines_are_named(tmp_path, line):
    file = archive(tmp_path) / "testTrainMulti_7030_splits" / "clap_test_split2.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], line, *lines[2:]]))
    with pytest.raises(ValueError, match=r'clap_test_split2.txt:3: the line must be "name.avi" and 0 \(unused\), 1 '):
        hmdb51(tmp_path, split=2)
    hmdb51(tmp_path, split=1)


def test_videos_listed_twice(tmp_path):
    file = archive(tmp_path) / "testTrainMulti_7030_splits" / "wave_test_split1.txt"
    file.write_text(file.read_text() + f"{ODD[1]} 1\n")
    with pytest.raises(ValueError, match=r"wave_test_split1.txt:7: .*cartwheel.* is listed a second time"):
        hmdb51(tmp_path)


def test_there_are_three_splits(tmp_path):
    with pytest.raises(ValueError, match=r"split must be 1, 2 or 3 \(HMDB51 has three official splits\), got 4"):
        hmdb51(tmp_path, split=4)
    with pytest.raises(ValueError, match="split must be at least 1, got 0"):
        hmdb51(tmp_path, split=0)
    with pytest.raises(TypeError, match="split must be an int, got '1'"):
        hmdb51(tmp_path, split="1")


def test_a_class_without_its_list_is_not_forgotten(tmp_path):
    archive(tmp_path)
    lists = sorted((tmp_path / "testTrainMulti_7030_splits").glob("*_split1.txt"))
    lists[-1].unlink()
    with pytest.raises(FileNotFoundError, match=f"{lists[-1].name}' does not exist"):
        hmdb51(tmp_path)
    for file in (tmp_path / "testTrainMulti_7030_splits").iterdir():
        file.unlink()
    with pytest.raises(FileNotFoundError, match="<class>_test_split1.txt' does not exist"):
        hmdb51(tmp_path)

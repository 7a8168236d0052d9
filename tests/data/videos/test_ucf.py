import pytest

from hashcenters.data.videos.ucf import ucf101

CLASSES = ("Walking", "ApplyEyeMakeup", "HandstandPushups")  # classInd decides their order, not the alphabet


def archive(root, *, classes=CLASSES, n_train=3, n_test=2, folder="UCF-101"):
    """Videos without content and the lists of three splits whose test videos differ."""
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_bytes("".join(f"{k} {name}\r\n" for k, name in enumerate(classes, 1)).encode())
    train, test = ({split: [] for split in (1, 2, 3)} for _ in range(2))
    n = n_train + n_test
    for number, name in enumerate(classes, start=1):
        (root / folder / name).mkdir(parents=True)
        for k in range(n):
            video = f"{name}/v_{name}_g{1 + k // 7:02}_c{1 + k % 7:02}.avi"
            (root / folder / video).touch()
            for split in (1, 2, 3):
                if (k + split) % n < n_test:
                    test[split].append(f"{video}\n")
                else:
                    train[split].append(f"{video} {number}\n")
    for split in (1, 2, 3):
        (lists / f"trainlist0{split}.txt").write_text("".join(train[split]))
        (lists / f"testlist0{split}.txt").write_text("".join(test[split]))
    return root


@pytest.mark.parametrize("folder", ["UCF-101", "."])
@pytest.mark.parametrize("split", [1, 2, 3])
def test_every_split_of_the_unpacked_archive(tmp_path, folder, split):
    splits = ucf101(archive(tmp_path, folder=folder), split=split)
    assert (splits.name, splits.top_k, splits.skipped) == ("ucf101", 100, ())
    assert splits.train.class_names == CLASSES
    assert splits.train is splits.database
    assert splits.train.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert splits.queries.labels.tolist() == [0] * 2 + [1] * 2 + [2] * 2
    for items, is_query in ((splits.train, False), (splits.queries, True)):
        for row, (path, label) in enumerate(zip(items.paths, items.labels.tolist(), strict=True)):
            assert path.split("/")[-2] == CLASSES[label]
            assert path.startswith("UCF-101/") == (folder == "UCF-101")
            assert items.absolute(row).is_file()
            assert ((int(path[-6:-4]) - 1 + split) % 5 < 2) is is_query
    assert splits.counts()["train_in_database"] == 9


def test_the_papers_counts(tmp_path):
    """Split 1 has 9,537 and 3,783 videos of 101 classes, unequally many of each."""
    classes = [f"Class{k:03}" for k in range(101)]
    archive(tmp_path, classes=classes, n_train=94, n_test=37)
    (tmp_path / "UCF-101" / "Class100" / "more.avi").touch()
    lists = tmp_path / "ucfTrainTestlist"
    for name, number, n_more in (("trainlist01.txt", " 101", 43), ("testlist01.txt", "", 46)):
        with (lists / name).open("a") as file:
            for k in range(n_more):
                video = f"Class100/more_{name[:5]}_{k}.avi"
                (tmp_path / "UCF-101" / video).touch()
                file.write(f"{video}{number}\n")
    splits = ucf101(tmp_path)
    assert (len(splits.train), len(splits.queries), len(splits.database)) == (9537, 3783, 9537)
    report = splits.report()
    assert "101 classes" in report
    assert "- train: 37 more items than the paper (9,537, not 9,500)." in report
    assert "- queries: 17 fewer items than the paper (3,783, not 3,800)." in report
    assert "the paper rounds: split 1 has 9,537 and 3,783 videos." in report


@pytest.mark.parametrize("where", ["folder", "files", "classInd", "lists"])
def test_handstand_pushups_in_any_case(tmp_path, where):
    """The data set's copies write HandstandPushups and HandStandPushups: in the folder, the file names, the lists."""
    archive(tmp_path)
    place = tmp_path / "UCF-101" / "HandstandPushups"
    lists = tmp_path / "ucfTrainTestlist"
    if where == "folder":
        place.rename(place.with_name("HandStandPushups"))
    elif where == "files":
        for file in list(place.iterdir()):
            file.rename(file.with_name(file.name.replace("Handstand", "HandStand")))
    else:
        for file in lists.glob("classInd.txt" if where == "classInd" else "*list0*.txt"):
            file.write_text(file.read_text().replace("Handstand", "HandStand"))
    for split in (1, 2, 3):
        splits = ucf101(tmp_path, split=split)
        assert splits.train.labels.bincount().tolist() == [3] * 3
        assert all(splits.train.absolute(row).is_file() for row in range(9))
        assert all(
            path.split("/")[1] in {file.name for file in (tmp_path / "UCF-101").iterdir()}
            for path in splits.train.paths
        )
    assert splits.train.class_names[2] == ("HandStandPushups" if where == "classInd" else "HandstandPushups")


def test_names_spelled_as_listed_come_first(tmp_path):
    archive(tmp_path)
    for name in ("HANDSTANDPUSHUPS", "handstandpushups"):
        (tmp_path / "UCF-101" / name).mkdir()
    place = tmp_path / "UCF-101" / "Walking"
    names = [file.name for file in place.iterdir()]
    for name in names:
        (place / name.upper()).touch()
    splits = ucf101(tmp_path)
    assert {path.split("/")[1] for path in splits.train.paths} == set(CLASSES)
    assert {path.split("/")[2] for path in splits.train.paths[:3]} < set(names)


def test_missing_videos_stop_or_are_skipped(tmp_path):
    archive(tmp_path)
    whole = ucf101(tmp_path)
    whole.train.absolute(1).unlink()
    whole.queries.absolute(0).unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of 15 videos are missing in '.*': 'UCF-101/Walking/"):
        ucf101(tmp_path)
    splits = ucf101(tmp_path, on_missing="skip")
    assert splits.skipped == (whole.train.paths[1], whole.queries.paths[0])
    assert splits.train.paths == (whole.train.paths[0], *whole.train.paths[2:])
    assert splits.queries.paths == whole.queries.paths[1:]
    assert splits.queries.labels.tolist() == whole.queries.labels.tolist()[1:]
    with pytest.raises(ValueError, match='on_missing must be "stop" or "skip"'):
        ucf101(tmp_path, on_missing="random")


def test_a_missing_class_folder_is_missing_videos(tmp_path):
    archive(tmp_path)
    (tmp_path / "UCF-101" / "Walking").rename(tmp_path / "Walking")
    with pytest.raises(FileNotFoundError, match=r"5 of 15 videos are missing in '.*': 'UCF-101/Walking/"):
        ucf101(tmp_path)


def test_absent_data_shows_the_layout(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"classInd.txt' does not exist\. The expected layout is\nucf101/"):
        ucf101(tmp_path)
    archive(tmp_path)
    (tmp_path / "ucfTrainTestlist" / "testlist03.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"testlist03.txt' does not exist\. The expected layout is\nucf101/"):
        ucf101(tmp_path, split=3)
    (tmp_path / "UCF-101").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"UCF-101/Walking' does not exist\. The expected layout is\nucf101/"):
        ucf101(tmp_path)


def _insert(file, line):
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], line, *lines[2:]]))


@pytest.mark.parametrize(
    "line", ["a.avi 1", "Walking/ 1", "Walking/x/a.avi 1", "Walking/a.avi 1 1", "", "Walking/.. 1", "Walking/..\\a.avi"]
)
def test_bad_lines_are_named(tmp_path, line):
    _insert(archive(tmp_path) / "ucfTrainTestlist" / "trainlist02.txt", line)
    with pytest.raises(ValueError, match=r'trainlist02.txt:3: the line must be "Class/name.avi", in a training list'):
        ucf101(tmp_path, split=2)
    ucf101(tmp_path, split=1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Running/a.avi", r"testlist01.txt:3: class 'Running' is not in classInd.txt"),
        ("Walking/a.avi 2", r"testlist01.txt:3: 'Walking' has the number 1 in classInd.txt, but '2' here"),
        ("Walking/V_walking_g01_c05.avi", r"testlist01.txt:\d: 'Walking/.*' is listed a second time"),
        ("Walking/v_Walking_g01_c02.avi", r"testlist01.txt:3: .* is listed a second time, here or in the training"),
    ],
)
def test_lists_that_contradict(tmp_path, line, message):
    _insert(archive(tmp_path) / "ucfTrainTestlist" / "testlist01.txt", line)
    with pytest.raises(ValueError, match=message):
        ucf101(tmp_path)


def test_test_lists_may_have_numbers(tmp_path):
    file = archive(tmp_path) / "ucfTrainTestlist" / "testlist01.txt"
    whole = ucf101(tmp_path).queries.paths
    file.write_text("".join(f"{x} {1 + CLASSES.index(x.split('/')[0])}\n" for x in file.read_text().splitlines()))
    assert ucf101(tmp_path).queries.paths == whole


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 Walking\nApplyEyeMakeup\n", r'classInd.txt:2: the line must be a number and a class, such as "1 '),
        ("1 Walking\n² Running\n", r"classInd.txt:2: the line must be a number and a class"),
        ("1 Walking\n2 ../Running\n", r"classInd.txt:2: the line must be a number and a class"),
        ("1 Walking\n1 Running\n", r"classInd.txt:2: number and class must come once, got '1 Running' again"),
        ("1 Walking\n2 walking\n", r"classInd.txt:2: number and class must come once, got '2 walking' again"),
        ("0 Walking\n1 Running\n", r"classInd.txt: the classes must be numbered 1..2 without gaps, got 0..1"),
    ],
)
def test_bad_classes_are_named(tmp_path, text, message):
    (archive(tmp_path) / "ucfTrainTestlist" / "classInd.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        ucf101(tmp_path)


def test_there_are_three_splits(tmp_path):
    with pytest.raises(ValueError, match=r"split must be 1, 2 or 3 \(UCF101 has three official splits\), got 4"):
        ucf101(tmp_path, split=4)
    with pytest.raises(ValueError, match="split must be at least 1, got 0"):
        ucf101(tmp_path, split=0)

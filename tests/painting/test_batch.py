"""Many photographs: planning, sharing out, streams, and what happens to the bad ones."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import picture
from PIL import Image
from PIL.ImageFile import ImageFile

from stylepack.cli.apply import parse_region
from stylepack.cli.main import run as stylepack
from stylepack.errors import UsageError
from stylepack.images.photo import Photo, SaveOptions
from stylepack.launchers import worker
from stylepack.network.device import is_out_of_memory
from stylepack.packs.mix import Mix
from stylepack.painting import stylizer as stylizer_module
from stylepack.painting.batch import Painter
from stylepack.painting.jobs import STANDARD, Job, is_done, mark_of, plan_jobs, share_of
from stylepack.painting.stylizer import Stylizer

STARRY = ["--style", "starry"]
MARK = ".starry"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "in"
    place.mkdir()
    for index, size in enumerate([(40, 32), (33, 47), (64, 20), (25, 25), (48, 48)]):
        picture(*size, seed=index).save(place / f"{index}.png")
    return place


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_of_mixed_sizes_is_painted_in_order(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert stylepack(["apply", str(folder), *STARRY, "-o", str(out), "--jobs", "3"]) == 0
    assert names(out) == [f"{index}.starry.png" for index in range(5)]
    assert capsys.readouterr().out.splitlines() == [str(out / name) for name in names(out)]
    for index in range(5):
        with (
            Image.open(folder / f"{index}.png") as before,
            Image.open(out / f"{index}.starry.png") as after,
        ):
            assert before.size == after.size


def test_each_of_many_is_painted_as_it_is_alone(folder: Path, tmp_path: Path) -> None:
    assert stylepack(["apply", str(folder), *STARRY, "-o", str(tmp_path / "many")]) == 0
    alone = tmp_path / "alone.png"
    assert stylepack(["apply", str(folder / "1.png"), *STARRY, "-o", str(alone)]) == 0
    assert (tmp_path / "many" / "1.starry.png").read_bytes() == alone.read_bytes()


def test_skip_existing_paints_only_what_is_missing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "2.starry.png").write_bytes(b"mine")
    words = ["apply", str(folder), *STARRY, "-o", str(out), "--skip-existing"]
    assert stylepack(words) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert (out / "2.starry.png").read_bytes() == b"mine"
    assert stylepack(words) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_suffix_and_format_name_the_results(folder: Path) -> None:
    words = ["--suffix", ".painted", "--format", "jpg"]
    assert stylepack(["apply", str(folder / "0.png"), *STARRY, *words]) == 0
    with Image.open(folder / "0.painted.jpg") as painted:
        assert painted.format == "JPEG"


def test_bad_files_are_named_and_the_rest_painted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "1.png").write_bytes(b"nothing")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:80])
    out = tmp_path / "out"
    assert stylepack(["apply", str(folder), *STARRY, "-o", str(out)]) == 1
    said = capsys.readouterr()
    assert "1.png" in said.err
    assert "3.png" in said.err
    assert "2 of 5 photographs failed" in said.err
    assert names(out) == ["0.starry.png", "2.starry.png", "4.starry.png"]
    assert len(said.out.splitlines()) == 3


def test_an_empty_suffix_keeps_the_names(folder: Path, tmp_path: Path) -> None:
    words = ["-o", str(tmp_path / "out.v1"), "--suffix", ""]
    assert stylepack(["apply", str(folder), *STARRY, *words]) == 0
    assert names(tmp_path / "out.v1") == names(folder)


@pytest.mark.parametrize("mark", ["/x", "\\x", "a/../b"])
def test_a_suffix_is_no_path(folder: Path, mark: str) -> None:
    with pytest.raises(UsageError, match="--suffix"):
        plan_jobs([str(folder)], None, mark)


def test_no_photograph_is_painted_over(folder: Path) -> None:
    place = folder.with_name("place")
    place.mkdir()
    (place / "0.starry.png").write_bytes((folder / "0.png").read_bytes())
    with pytest.raises(UsageError, match="would overwrite"):
        plan_jobs([str(folder / "0.png"), str(place / "0.starry.png")], str(place), MARK)


def test_marks_name_the_packs() -> None:
    def mark(*parts: tuple[str, float]) -> str:
        return mark_of([Mix(parts)])

    assert mark(("starry", 1.0)) == ".starry"
    assert mark(("mine/dawn", 0.5), ("x/Dusk.safetensors", 0.5)) == ".mine-dawn+Dusk"
    assert mark(("starry", 1.0), ("wave", 0.0)) == ".starry"
    assert mark(*((name, 0.2) for name in "abcde")) == ".a+b+3-more"
    starry, wave = (Mix(((name, 1.0),)) for name in ("starry", "wave"))
    assert mark_of([starry, wave]) == ".starry,wave"  # a region, not a mix
    assert mark_of([starry, starry]) == ".starry"
    assert mark_of([Mix(((name, 1.0),)) for name in "abcde"]) == ".a,b,3-more"
    assert mark_of([starry], wave) == ".starry-to-wave"


def test_paintings_in_other_styles_are_left_out_with_a_line(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = "1.starry-to-wave"
    region = "2.wave,starry+home-mine,2-more"
    packs = ("0.wave", "1.wave+starry", clip, "2.mine+2-more", region)
    for name in (*packs, "3.photo", "4.v2", "wave"):
        (folder / f"{name}.png").write_bytes((folder / "0.png").read_bytes())
    known = {"wave", "starry", "home/mine", "mine", "photo"}
    jobs = plan_jobs([str(folder)], None, MARK, known=lambda: known)
    assert [job.source.name for job in jobs] == [
        *("0.png", "1.png", "2.png", "3.photo.png", "3.png", "4.png", "4.v2.png", "wave.png")
    ]
    assert "left out paintings: 5, such as 0.wave.png" in caplog.text
    named = plan_jobs([str(folder / "0.wave.png")], None, MARK, known=lambda: known)
    assert named[0].target.name == "0.wave.starry.png"


def test_two_styles_go_to_two_files_and_replacing_one_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = str(folder / "0.png")
    assert stylepack(["apply", photo, *STARRY]) == 0
    assert stylepack(["apply", photo, "--style", "wave"]) == 0
    assert "replaced" not in capsys.readouterr().err
    assert (folder / "0.starry.png").read_bytes() != (folder / "0.wave.png").read_bytes()
    assert stylepack(["apply", photo, *STARRY]) == 0
    assert f"replaced {folder / '0.starry.png'}" in capsys.readouterr().err
    assert stylepack(["apply", str(folder), *STARRY]) == 0
    assert "replaced 1 file; --skip-existing keeps them" in capsys.readouterr().err


def test_a_size_above_the_photographs_says_what_it_does(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = folder / "0.png"
    with Image.open(photo) as before:
        size = before.size
    assert stylepack(["apply", str(photo), *STARRY, "--size", str(max(size) + 40)]) == 0
    assert f"add --no-upscale to get {max(size) + 40} pixels" in capsys.readouterr().err
    with Image.open(folder / "0.starry.png") as after:
        assert after.size == size
    enlarged = ["--size", str(2 * max(size)), "--no-upscale"]
    assert stylepack(["apply", str(photo), *STARRY, *enlarged]) == 0
    assert "enlarges" not in capsys.readouterr().err
    with Image.open(folder / "0.starry.png") as after:
        assert max(after.size) == 2 * max(size)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--style", "starry", "--style", "wave"], "--mix starry=0.5,wave=0.5"),
        (["--mix", "starry=1", "--mix", "wave=1"], "give it once: --mix starry=1,wave=1"),
        (["--style", "dusk.jpg"], "`stylepack add-style dusk.jpg`"),
        (["--mix", "starry:0.5"], "write a weight with '=': starry=0.5"),
        (["--mix", "starry=0.5:wave=0.5"], "separate the packs of a mix with commas, not ':'"),
        (["--style", "mine/starry"], "no trunk or package 'mine' with packs is installed"),
        (["--style", "starry=0.5,wave=0.5"], "use --mix starry=0.5,wave=0.5"),
        (["--style", "van gogh"], "there is nightcafe, starry, wheatfield"),
    ],
)
def test_what_was_probably_meant_is_named(
    folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylepack(["apply", str(folder / "0.png"), *words]) == 2
    assert message in capsys.readouterr().err


def test_what_a_shell_makes_of_a_pattern_is_painted_once(folder: Path) -> None:
    (folder / "0.starry.png").write_bytes((folder / "0.png").read_bytes())
    names = ["0.png", "0.starry.png", "./0.png", "1.png"]
    jobs = plan_jobs([str(folder / name) for name in names], None, MARK)
    assert [job.source.name for job in jobs] == ["0.png", "1.png"]
    alone = plan_jobs([str(folder / "0.starry.png")], None, MARK)
    assert [job.target.name for job in alone] == ["0.starry.starry.png"]


def test_standard_input_stands_alone(folder: Path) -> None:
    with pytest.raises(UsageError, match="one photograph"):
        plan_jobs(["-", str(folder / "0.png")], None, MARK)


def test_a_pattern_is_expanded(folder: Path) -> None:
    jobs = plan_jobs([str(folder / "[0-2].png")], None, MARK)
    assert [job.source.name for job in jobs] == ["0.png", "1.png", "2.png"]


def test_standard_input_to_standard_output(folder: Path) -> None:
    command = [sys.executable, "-m", "stylepack", "apply", "-", *STARRY, "--format", "jpg"]
    photo = (folder / "0.png").read_bytes()
    done = subprocess.run(command, input=photo, capture_output=True, check=True)
    with Image.open(io.BytesIO(done.stdout)) as painted:
        assert painted.format == "JPEG"
        assert painted.size == (40, 32)


def test_shards_share_every_photograph_out_once() -> None:
    jobs = [Job(Path(f"{n}.jpg"), Path(f"{n}.out.jpg")) for n in range(7)]
    parts = [share_of(jobs, f"{n}/3", {}) for n in (1, 2, 3)]
    assert sorted((job for part in parts for job in part), key=lambda job: job.source) == jobs
    assert [len(part) for part in parts] == [3, 2, 2]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"RANK": "1", "WORLD_SIZE": "3"}, "1.jpg"),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "3"}, "2.jpg"),
        (
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_ARRAY_TASK_MIN": "4",
                "SLURM_ARRAY_TASK_MAX": "6",
                "SLURM_PROCID": "0",
                "SLURM_NTASKS": "1",
            },
            "1.jpg",
        ),
        ({"SGE_TASK_ID": "1", "SGE_TASK_LAST": "3"}, "0.jpg"),
        (
            {
                "SGE_TASK_ID": "4",
                "SGE_TASK_FIRST": "2",
                "SGE_TASK_LAST": "6",
                "SGE_TASK_STEPSIZE": "2",
            },
            "1.jpg",
        ),
        ({"SGE_TASK_ID": "undefined", "PMI_RANK": "1", "PMI_SIZE": "3"}, "1.jpg"),
        ({"LSB_JOBINDEX": "3", "LSB_JOBINDEX_END": "3"}, "2.jpg"),
        ({"LSB_JOBINDEX": "0", "LSB_JOBINDEX_END": "0", "RANK": "2", "WORLD_SIZE": "3"}, "2.jpg"),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "2", "AWS_BATCH_JOB_ARRAY_SIZE": "3"}, "2.jpg"),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "3"}, "0.jpg"),
    ],
)
def test_the_rank_comes_from_the_environment(environment: dict[str, str], expected: str) -> None:
    jobs = [Job(Path(f"{n}.jpg"), Path(f"{n}.out.jpg")) for n in range(3)]
    assert [job.source.name for job in share_of(jobs, "env", environment)] == [expected]


def test_every_process_of_every_task_is_a_worker() -> None:
    array = {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "2"}
    found = [
        worker(array | {"SLURM_ARRAY_TASK_ID": task, "RANK": rank, "WORLD_SIZE": "3"})
        for task in "12"
        for rank in "012"
    ]
    assert found == [(n, 6) for n in range(6)]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"SLURM_ARRAY_TASK_MIN": "x"}, "cannot read SLURM_ARRAY_TASK_MIN"),
        ({"SLURM_ARRAY_TASK_MAX": "7", "SLURM_ARRAY_TASK_COUNT": "3"}, "regular range"),
        ({"SLURM_ARRAY_TASK_STEP": "2", "SLURM_ARRAY_TASK_MAX": "5"}, "regular range"),
    ],
)
def test_indices_that_say_no_rank_are_refused(changed: dict[str, str], words: str) -> None:
    array = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "3"}
    with pytest.raises(UsageError, match=words):
        worker(array | changed)


def test_no_rank_in_the_environment_is_told() -> None:
    with pytest.raises(UsageError, match="RANK"):
        share_of([], "env", {})


def test_too_little_memory_for_one_photograph_does_not_stop_the_rest(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def paint(stylizer: Stylizer, options: object, photo: Photo, advance: object) -> Photo:
        if photo.size == (40, 32):
            raise MemoryError
        return photo

    monkeypatch.setattr(Stylizer, "paint_with", paint)
    Image.new("RGB", (40, 33)).save(folder / "last.png")
    assert stylepack(["apply", str(folder / "0.png"), str(folder / "last.png"), *STARRY]) == 1
    out, err = capsys.readouterr()
    assert "last.starry.png" in out
    assert "not enough memory for" in err
    assert "1 of 2 photographs failed; the rest are painted" in err


def test_a_full_standard_output_is_named(folder: Path) -> None:
    command = [sys.executable, "-m", "stylepack", "apply", str(folder / "0.png"), *STARRY]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*command, "-o", "-"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "cannot write to standard output: No space left" in done.stderr


def test_a_pattern_opens_folders_if_it_finds_nothing_else(folder: Path) -> None:
    jobs = plan_jobs([str(folder.parent / f"{folder.name[:1]}*")], None, MARK)
    assert len(jobs) == len(plan_jobs([str(folder)], None, MARK))


def test_a_file_called_like_standard_output_is_not_what_was_painted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("./-").write_text("somebody's")
    assert not is_done(Job(STANDARD, STANDARD))


def test_a_folder_may_have_a_dot(folder: Path, tmp_path: Path) -> None:
    [job] = plan_jobs([str(folder / "0.png")], f"{tmp_path / 'v2.0'}/", MARK)
    assert job.target == tmp_path / "v2.0" / "0.starry.png"


def test_a_masks_name_may_have_an_equals_sign(tmp_path: Path) -> None:
    mask = tmp_path / "a=b.png"
    mask.touch()
    assert parse_region(f"{mask}=wave")[0] == mask


def test_links_that_lead_nowhere_are_named_or_passed_over(folder: Path) -> None:
    (folder / "x.png").symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"x\.png is a broken link"):
        plan_jobs([str(folder / "x.png")], None, MARK)
    with pytest.raises(UsageError, match="no such file or folder"):
        plan_jobs([str(folder / "x*.png")], None, MARK)
    assert len(plan_jobs([str(folder / "*.png")], None, MARK)) == 5


@pytest.mark.parametrize(
    ("photo", "output", "words"),
    [
        ("", None, "name is empty"),
        ("0.png", "", "-o is empty"),
        (f"{'x' * 300}.png", None, "give another name"),
        ("0.png", f"{'x' * 300}.png", "give another name"),
        ("0.png", "/dev/null", "is a device; for standard output, give -o -"),
    ],
)
def test_names_that_cannot_be_meant_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, photo: str, output: str | None, words: str
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match=words):
        plan_jobs([photo], output, MARK)


def test_a_region_without_a_file_is_refused() -> None:
    with pytest.raises(UsageError, match="write it like"):
        parse_region("=wave")


def test_memory_that_runs_out_anywhere_stops_one_photograph(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def regions(masks: list[torch.Tensor], device: torch.device) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def load(image: ImageFile) -> object:
        if image.size == (40, 32):
            raise MemoryError
        return whole(image)

    whole = ImageFile.load
    mask = folder / "4.png"
    words = ["apply", str(folder / "0.png"), str(folder / "1.png"), *STARRY]
    with monkeypatch.context() as during:
        during.setattr(stylizer_module, "Regions", regions)
        assert stylepack([*words, "--region", f"{mask}=wave"]) == 1
    first, second, last = capsys.readouterr().err.splitlines()[-3:]
    assert "40x32 pixels do not fit in the memory of cpu" in first
    assert "33x47 pixels do not fit" in second
    assert "2 of 2" in last
    monkeypatch.setattr(ImageFile, "load", load)
    assert stylepack(words) == 1
    out, err = capsys.readouterr()
    assert f"not enough memory to read {folder / '0.png'}" in err
    assert out.splitlines() == [str(folder / "1.starry.png")]


@pytest.mark.skipif(os.name == "nt", reason="there are no such terminals")
def test_paths_go_to_stdout_where_the_progress_is_on_a_terminal(folder: Path) -> None:
    import pty  # no Windows has it

    terminal, its_end = pty.openpty()
    command = [sys.executable, "-m", "stylepack", "apply", str(folder), *STARRY]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=its_end, check=True)
    os.close(its_end)
    shown = os.read(terminal, 1 << 16)
    os.close(terminal)
    assert done.stdout.decode().splitlines() == [
        str(folder / f"{index}.starry.png") for index in range(5)
    ]
    assert b"painting starry on" in shown
    assert b"starry.png" not in shown


def test_standard_input_that_cannot_be_read_is_named(folder: Path) -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "stylepack", "apply", "-", *STARRY]
    done = subprocess.run(command, stdin=writing, capture_output=True, check=False)
    os.close(reading)
    os.close(writing)
    assert done.returncode == 1
    assert b"cannot read standard input: Bad file descriptor" in done.stderr


def test_a_process_that_waits_for_standard_input_can_be_ended() -> None:
    command = [sys.executable, "-m", "stylepack", "apply", "-", *STARRY]
    reading, writing = os.pipe()
    process = subprocess.Popen(
        command, stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.close(reading)
    os.write(writing, bytes(1 << 18))  # more than a pipe holds: now it reads
    time.sleep(0.5)
    process.terminate()
    out, err = process.communicate(timeout=60)
    os.close(writing)
    assert (process.returncode, out, len(err.splitlines())) == (143, b"", 1)


def test_as_many_photographs_are_read_ahead_as_there_are_threads(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Job] = []
    counted: list[int] = []  # of those begun when each is painted
    read = Painter.read

    def noted(painter: Painter, job: Job) -> Photo:
        begun.append(job)
        return read(painter, job)

    class Paints:
        def paint_with(self, _: object, photo: Photo, advance: object) -> Photo:
            end = time.monotonic() + 5
            while not counted and len(begun) < 4 and time.monotonic() < end:
                time.sleep(0.001)
            counted.append(len(begun))
            return photo

    monkeypatch.setattr(Painter, "read", noted)
    jobs = plan_jobs([str(folder)], str(tmp_path / "out"), MARK)
    painter = Painter(Paints(), SaveOptions())  # type: ignore[arg-type]
    assert [one.error for one in painter.paint_all(jobs, workers=4)] == [None] * 5
    assert counted[0] == 4


def test_what_onednn_does_not_support_is_no_lack_of_memory() -> None:
    assert is_out_of_memory(RuntimeError("could not create a primitive"))
    descriptor = "could not create a primitive descriptor for a convolution"
    assert not is_out_of_memory(RuntimeError(descriptor))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"))
    assert is_out_of_memory(RuntimeError("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"))
    assert not is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"))
    assert not is_out_of_memory(ValueError("out of memory"))

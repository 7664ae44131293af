"""The benchmarks in their smallest form: what they write, which marks are read from it, and what becomes of it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import typer

ROOT = Path(__file__).parents[2]

for package in ("ml_dtypes", "sklearn", "tqdm"):
    pytest.importorskip(package)
sys.path.append(str(ROOT))  # `benchmarks` is in the source tree only

from benchmarks import everything, formats, publish, report, results, small_fits  # noqa: E402
from benchmarks.marks import Mark, Marks  # noqa: E402
from benchmarks.marks_elsewhere import all_asked, marks_elsewhere  # noqa: E402
from benchmarks.measure import Measured, measure  # noqa: E402
from benchmarks.peers.gdfast_peer import Gdfast  # noqa: E402
from benchmarks.peers.limit_peer import Limit  # noqa: E402
from benchmarks.workloads import Workload  # noqa: E402

FACTS = {"date": "2030-01-02T03:04+00:00", "form": "full, 1 rounds", "CPU": "a CPU"}


def test_a_run_leaves_a_page_and_figures(tmp_path):
    text = results.write(tmp_path / "new", "some", "Some times", FACTS, ["A part."], {"ms": {"gdfast": 1.5}})
    assert text == (tmp_path / "new" / "some.md").read_text()
    assert text.splitlines()[:3] == ["# Some times", "", "- date: 2030-01-02T03:04+00:00"]
    assert results.read(tmp_path / "new") == {"some": {"head": FACTS, "ms": {"gdfast": 1.5}}}


def marks(found):
    return {mark.what: mark for mark in marks_elsewhere(found)}


def test_without_figures_every_mark_is_not_measured():
    assert {mark.verdict for mark in marks({}).values()} == {"not measured"}
    assert len(marks({})) == len(marks_elsewhere({})) > 30  # each has its own name


def test_marks_are_read_from_what_was_left():
    found = {
        "formats": {"head": FACTS, "bytes": {"8bit state": {"state": 2.02}}},
        "torch": {"head": FACTS, "faster_than_fused": {"adam, 200 x 64, float32, 1 thread": 14.0}},
        "small_fits": {"head": {"form": "quick, 3 rounds"}, "sets": {"iris": {"times_the_peer": 2.5}}},
    }
    read = marks(found)
    assert read["AdamW, state in 8 bits: bytes a parameter"].verdict == "met"
    quick = read["fit of iris: times LogisticRegression's (quick form)"]
    assert (quick.value, quick.verdict) == (2.5, "missed")
    assert read["fit of wine: times LogisticRegression's"].verdict == "not measured"


def test_every_mark_names_a_benchmark_that_runs_with_everything():
    writes = {"torch": "drop_in"}  # the others are called as their files are
    parts = {part.module for part in everything.PARTS}
    assert {writes.get(asked.name, asked.name) for asked in all_asked()} <= parts
    for part in parts:
        source = (ROOT / "benchmarks" / f"{part}.py").read_text()
        assert "quick" in source, part
        assert '"--out"' in source or "out: Annotated" in source, part


def test_the_report_is_written_again_from_its_figures():
    measured = measure(Workload("adam", "1k", threads=1), 2, [Gdfast("native"), Limit("bare")])
    special = {"growth": {"off": 0.01}}
    figures = json.loads(json.dumps(report.as_json(FACTS, [measured], special, Marks([measured], special).all())))
    facts, again, other = report.from_json(figures)
    assert (facts, other) == (FACTS, special)
    assert again[0].work == measured.work
    assert again[0].times == measured.times
    assert isinstance(again[0], Measured)
    assert Marks(again, other).all() == Marks([measured], special).all()


def test_a_mark_says_what_came_of_it():
    assert Mark("a", 1.0, 2.0, "").verdict == "missed"
    assert Mark("a", 1.0, 2.0, "", at_most=True).verdict == "met"


def test_formats_are_timed_and_their_bytes_counted():
    work = Workload("adamw", "1k", threads=1)
    times, problems, _ = formats.measure(work, 1, quick=True)
    assert problems == {}
    found = formats.figures_of(work, times)
    assert set(formats.TIMED) <= set(found["ns_per_parameter"])
    assert found["slower_than"]["float32"]["float32"] == 1.0
    assert formats.bytes_of("float32") == (4, 8, 4)
    assert 2 < formats.bytes_of("8bit state").state < 2.1
    lines = formats.table({"1 thread": found}).splitlines()
    assert len(lines) == 2 + len(found["ns_per_parameter"])


def test_a_small_fit_is_timed_beside_its_peer():
    found = small_fits.measure("iris", 1)
    assert (found["rows"], found["peer"]) == (150, "LogisticRegression")
    assert min(found["scores"].values()) > 0.9
    assert small_fits.table({"iris": found}).count("\n") == 2


def test_whole_trainings_have_the_losses_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    from benchmarks import trainings, whole_trainings

    threads = torch.get_num_threads()
    tiny = [trainings.transformer("tiny", 2, 64, 1), trainings.ratings("tiny", 8, 100)]
    try:
        text = whole_trainings.run(tiny, 1, tmp_path, {"date": "today", "form": "full"}, turn=0.0)
    finally:
        torch.set_num_threads(threads)
    found = results.read(tmp_path)["whole_trainings"]["trainings"]
    assert [of["wrong"] for of in found.values()] == [{}, {}]
    assert set(found["transformer, tiny"]["ms"]) == set(trainings.CONTENDERS)
    assert trainings.ONE_CALL not in found["embedding, tiny"]["ms"]
    assert "wrong" not in text.partition("| training")[2]


def test_a_training_with_other_losses_is_marked():
    pytest.importorskip("torch")
    from benchmarks import trainings, whole_trainings

    right = [2.0, 1.9, 1.8]
    losses = {trainings.DEFAULT: right, trainings.FUSED: [2.0, 1.9001, 1.8], trainings.OURS: [2.0, 1.9, 1.85]}
    losses[trainings.ONE_CALL] = [2.0, float("nan"), 1.8]
    wrong = whole_trainings.wrong(losses)
    assert set(wrong) == {trainings.OURS, trainings.ONE_CALL}
    ones = dict.fromkeys(trainings.CONTENDERS, 1.0)
    of = {"batch": 1, "ms": ones, "after_ms": ones, "wrong": wrong, "cpus_used_by_others": None}
    of |= {"faster_than": {trainings.DEFAULT: ones, trainings.FUSED: ones}, "in_backward_faster": 1.0}
    assert whole_trainings.main_table({"a model": of}).count("**wrong**") == 2
    assert "## Wrong" in whole_trainings.report({"a model": of}, [])


PAGE = """# Whole training steps

- date: 2030-01-02T03:04+00:00
- CPU: a CPU
- cpus for this process: 2
- torch: 2.13.0+cpu

| training | PyTorch  |
|----------|----------|
| a model  | 2.5 (1)  |

## Whole trainings elsewhere

| training | beside |
|----------|--------|
"""


def test_the_readme_has_the_section_that_the_written_report_gives():
    page = ROOT / "docs" / "report" / "whole_trainings.md"
    readme = (ROOT / "README.md").read_text()
    assert publish.filled(readme, page.read_text() if page.exists() else None) == readme


def test_pages_are_published(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "ROOT", tmp_path / "tree")
    (tmp_path / "tree" / "docs").mkdir(parents=True)
    readme, index = tmp_path / "tree" / "README.md", tmp_path / "tree" / "docs" / "README.md"
    readme.write_text(f"before\n{publish.BEGIN}{publish.END}after\n")
    index.write_text("## How fast\n\n- [One](report/report.md): a\n  report.\n\n## More\n")
    run = tmp_path / "run"
    run.mkdir()
    publish.main(run)
    assert readme.read_text() == f"before\n{publish.BEGIN}{publish.END}after\n"  # nothing was measured
    for name, text in (("whole_trainings.md", PAGE), ("report.md", "# It\n"), ("adam.png", ""), ("other.md", "")):
        (run / name).write_text(text)
    for _ in range(2):  # the second time nothing changes
        publish.main(run)
        said = readme.read_text()
        assert "measured 2030-01-02 on 2 CPUs of an a CPU with PyTorch 2.13.0" in said
        assert "\n| training | PyTorch |\n|---|---|\n| a model | 2.5 (1) |\n" in said
        assert "beside" not in said
        assert index.read_text().splitlines()[2:6] == [
            "- [One](report/report.md): a",
            "  report.",
            f"- [{publish.PAGES['whole_trainings'][0]}](report/whole_trainings.md): "
            f"{publish.PAGES['whole_trainings'][1]}",
            "",
        ]
    assert sorted(p.name for p in (index.parent / "report").iterdir()) == [
        "adam.png",
        "report.md",
        "whole_trainings.md",
    ]
    readme.write_text("no place\n")
    with pytest.raises(ValueError, match=r"README\.md must have the lines"):
        publish.main(run)
    with pytest.raises(typer.BadParameter, match="must be a folder"):
        publish.main(tmp_path / "none")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see which processes run")
def test_a_part_that_fails_or_takes_too_long_does_not_keep_the_others(tmp_path, monkeypatch):
    fake = tmp_path / "tree" / "benchmarks"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("")
    (fake / "good.py").write_text("import sys; print(sys.argv[1:])")
    (fake / "bad.py").write_text("import nothing_of_this_name")
    child = "import subprocess, sys, time\n"
    child += "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print(p.pid, flush=True)\n"
    (fake / "slow.py").write_text(child + "time.sleep(60)")
    monkeypatch.setattr(everything, "ROOT", tmp_path / "tree")
    parts = [everything.Part("bad"), everything.Part("slow", quick_minutes=3 / 60), everything.Part("good", ["--more"])]
    monkeypatch.setattr(everything, "PARTS", parts)
    out = tmp_path / "out"
    with pytest.raises(typer.Exit):
        everything.main(quick=True, out=out, only=None)
    text = (out / "everything.md").read_text()
    assert "failed: ModuleNotFoundError: No module named 'nothing_of_this_name'" in text
    assert "ended after its limit of 0.05 minutes" in text
    assert (out / "good.log").read_text().strip() == str(["--quick", "--out", str(out)])
    grandchild = (out / "slow.log").read_text().strip()
    assert grandchild.isdecimal()
    until = time.monotonic() + 20
    while alive(grandchild) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive(grandchild)
    everything.main(quick=False, out=out, only=["good"])
    assert (out / "good.log").read_text().strip() == str(["--more", "--out", str(out)])
    with pytest.raises(typer.BadParameter, match="parts are bad, slow, good; got worse"):
        everything.main(quick=True, out=out, only=["worse"])


def alive(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_the_suite_over_time_measures_every_case():
    from benchmarks.over_time import suite

    config = json.loads((ROOT / "benchmarks" / "over_time" / "asv.conf.json").read_text())
    assert (ROOT / "benchmarks" / "over_time" / config["repo"]).resolve() == ROOT
    for kind, case in ((suite.Step, ("adam", "1k")), (suite.InOneCall, (True,)), (suite.Format, ("8bit state",))):
        timed = kind()
        timed.setup(*case)
        before = [param.copy() for param in timed.run.params()]
        timed.time_step(*case)
        assert all((np.asarray(a) != b).any() for a, b in zip(timed.run.params(), before, strict=True))
    assert suite.Format().track_bytes("8bit state") == pytest.approx(10.02, abs=0.01)
    fit = suite.Fit()
    fit.setup("MLPClassifier", "breast_cancer")
    fit.time_fit("MLPClassifier", "breast_cancer")
    assert fit.model.n_iter_ == 10
    subprocess.run([sys.executable, "-c", suite.timeraw_import()], check=True, cwd=ROOT)

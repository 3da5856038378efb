"""What a report says of the differences between methods, by accuracies that are made up here."""

from dataclasses import replace

from test_report import made_up
from unvanish.study.report.groups import Group
from unvanish.study.report.significance import significance


def group(name: str, *accuracies: float, seeds=(1, 2, 3, 4, 5)) -> Group:
    """A run for each accuracy, with the seeds in order."""
    records = [made_up(seed=seed, epochs=1) for seed, _ in zip(seeds, accuracies, strict=False)]
    outcomes = [replace(one.outcome, last_val_acc=value) for one, value in zip(records, accuracies, strict=True)]
    return Group(name, tuple(replace(one, outcome=outcome) for one, outcome in zip(records, outcomes, strict=True)))


def told(*groups: Group, baseline: str | None = None):
    section = significance(groups, baseline)
    assert section is not None
    return section


def test_two_methods_are_compared_whatever_they_are_called():
    section = told(group("a", 0.1, 0.2, 0.3), group("b", 0.3, 0.5, 0.4))
    assert [table.caption for table in section.tables] == ["Each method", "The second minus the first"]
    ((first, second, difference, *_),) = section.tables[1].rows
    assert (first, second, difference) == ("a", "b", "+0.2000")
    assert not any("families" in sentence for sentence in section.sentences)


def test_of_two_with_a_baseline_there_is_one_test_and_one_table():
    section = told(group("a", 0.1, 0.2, 0.3), group("b", 0.3, 0.5, 0.4), baseline="b")
    assert [table.caption for table in section.tables] == ["Each method", "Against b"]
    assert section.tables[1].rows[0][:3] == ("b", "a", "-0.2000")
    assert not any("families" in sentence for sentence in section.sentences)


def test_of_three_with_a_baseline_there_are_two_families_of_tests():
    groups = group("a, deep", 0.1, 0.2, 0.3), group("b", 0.3, 0.5, 0.4), group("c", 0.9, 0.8, 0.7)
    section = told(*groups, baseline="a, deep")
    assert "each method against 'a, deep', and, stricter, all pairs" in section.sentences[1]
    assert [len(table.rows) for table in section.tables] == [3, 2, 3]
    without = told(*groups)
    assert not any("families" in sentence for sentence in without.sentences)
    assert [len(table.rows) for table in without.tables] == [3, 3]


def test_of_very_many_without_a_baseline_nothing_is_said_to_be_tested():
    section = told(*(group(f"m{number}", 0.1, 0.2 + number / 100) for number in range(41)))
    assert "not every pair is tested, and there is no baseline to test against." in section.sentences[-1]
    assert len(section.tables) == 1


def test_methods_that_lack_seeds_are_named():
    section = told(group("a", 0.1, 0.2, 0.3), group("b", 0.3, 0.5, seeds=(1, 3)), group("c", 0.3, seeds=(3,)))
    assert "over 1 to 3 seeds" in section.sentences[0]
    assert section.sentences[1] == (
        "Not every method has every seed: b has no run with seed 2; c has no run with seed 1 or 2. "
        "Two methods are compared over the seeds that both have, and not at all where there is none."
    )
    full = told(group("a", 0.1, 0.2), group("b", 0.3, 0.5))
    assert "over 2 seeds" in full.sentences[0]
    assert not any("no run with" in sentence for sentence in full.sentences)


def test_methods_without_a_seed_in_common_are_in_no_table_of_tests():
    section = told(group("a", 0.1, 0.2, seeds=(1, 2)), group("b", 0.3, 0.5, seeds=(3, 4)), baseline="a")
    assert [table.caption for table in section.tables] == ["Each method"]
    assert "not at all where there is none" in section.sentences[1]


def ended(one: Group, *states: str) -> Group:
    """The same runs, ended in other ways."""
    outcomes = [replace(run.outcome, state=state) for run, state in zip(one.records, states, strict=True)]
    return Group(one.name, tuple(replace(run, outcome=how) for run, how in zip(one.records, outcomes, strict=True)))


def test_what_is_left_out_is_told_with_what_became_of_each_run():
    lost = ended(group("c, deep", 0.1, 0.2, 0.3), "diverged", "finished", "unfinished")
    section = told(group("a", 0.1, 0.2, 0.3), group("b", 0.3, 0.5, 0.4), lost, baseline="c, deep")
    assert "'c, deep' is left out: of its 3 runs 1 diverged, 1 unfinished." in section.sentences
    assert "Nothing is tested against 'c, deep', the baseline, which is left out." in section.sentences
    alone = told(group("a", 0.1, 0.2, 0.3), lost)
    assert alone.sentences == [
        "There are no two methods to compare.",
        "'c, deep' is left out: of its 3 runs 1 diverged, 1 unfinished.",
    ]
    assert significance([group("a", 0.1, 0.2, 0.3)]) is None

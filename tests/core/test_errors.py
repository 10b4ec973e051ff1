"""The exception tree is the one that its module draws, and messages stay on one line."""

import inspect
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from zoo import errors
from zoo.errors import TrainingInterruptedError, ZooError, command, did_you_mean, printable, quoted

BRANCH = re.compile(r"^(?P<indent>[│├└─ ]*)(?P<name>[A-Z]\w+) {2,}(?P<text>.+)$", re.MULTILINE)
CLASSES = {
    name: value for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, ZooError)
}


def drawn_tree() -> dict[str, str]:
    """Return each drawn class and the one that it hangs from."""
    path: list[str] = ["Exception"]
    parents = {}
    for branch in branches():
        depth = len(branch["indent"]) // 4
        path[depth + 1 :] = [branch["name"]]
        parents[branch["name"]] = path[depth]
    return parents


def drawn_statuses() -> dict[str, set[int]]:
    """Return the exit statuses of each class: its own where they are drawn, else its parent's."""
    texts = {branch["name"]: branch["text"].partition("exit status")[2] for branch in branches()}
    own = {name: {int(number) for number in re.findall(r"\d+", text)} for name, text in texts.items()}
    parents = drawn_tree()

    def status(name: str) -> set[int]:
        return own[name] or status(parents[name])

    return {name: status(name) for name in own}


def branches() -> list[re.Match[str]]:
    return list(BRANCH.finditer(errors.__doc__ or ""))


def test_the_drawn_tree_holds_every_class_under_its_real_parent():
    assert drawn_tree() == {name: value.__base__.__name__ for name, value in CLASSES.items()}


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - {"TrainingInterruptedError"}))
def test_a_class_has_the_drawn_exit_status(name):
    assert {CLASSES[name]("message").exit_status} == drawn_statuses()[name]


def test_an_interrupted_training_has_the_exit_status_of_its_signal():
    statuses = {TrainingInterruptedError("message", number).exit_status for number in (signal.SIGINT, signal.SIGTERM)}
    assert statuses == drawn_statuses()["TrainingInterruptedError"] == {130, 143}


def test_an_interrupted_training_means_ctrl_c_unless_told_otherwise():
    assert TrainingInterruptedError("message").exit_status == 130


def test_a_close_name_is_suggested():
    assert did_you_mean("mpl", ["conv", "mlp"]) == " Did you mean 'mlp'?"


@pytest.mark.parametrize("known", [[], ["conv", "resnet"]], ids=["nothing known", "nothing close"])
def test_no_name_is_suggested_where_none_is_close(known):
    assert did_you_mean("mpl", known) == ""


def test_only_the_closest_name_is_suggested():
    assert did_you_mean("hiden", ["hide", "hidden", "hiding"]) == " Did you mean 'hidden'?"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines", r"two\nlines"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("right\u202eto left", r"right\u202eto left"),
        ("line\u2028separator", r"line\u2028separator"),
        ("half a \ud83d pair", r"half a \ud83d pair"),
        ("28×28 é 数", "28×28 é 数"),
        (ValueError("no luck"), "no luck"),
    ],
)
def test_text_from_outside_is_shown_on_one_line(text, shown):
    assert printable(text) == shown


def test_long_text_is_cut_to_the_limit():
    assert printable("x" * 11, limit=10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("several words", "several…"),
        ("several word", "several…"),
        ("one word more", "one word…"),
        ("a wordthatislong", "a wordtha…"),
    ],
)
def test_long_text_ends_with_a_whole_word(text, shown):
    assert printable(text, limit=10) == shown


@pytest.mark.parametrize("text", ["x" * 10, "five words"])
def test_text_of_just_the_limit_is_whole(text):
    assert printable(text, limit=10) == text


def words_that_bash_reads(text: str) -> list[str]:
    """Return the words of a command line as bash splits and unquotes them."""
    result = subprocess.run(["bash", "-c", f"printf '%s\\0' {text}"], capture_output=True, check=True)
    return [os.fsdecode(word) for word in result.stdout.split(b"\0")[:-1]]


WORDS = [
    "plain", "mein läuf 1", "it's", "$HOME", "`id`", "a  b", "two\nlines", "tab\there", "\x1b[31m'red'",
    "back\\slash\n", "right\u202eto left", "no-break\u00a0space", "not UTF-8: \udcff", "", "*", "~", "# no comment",
    "!", "\x01" + "23",
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS, ids=ascii)
def test_a_quoted_word_is_what_the_shell_reads(word):
    assert words_that_bash_reads(quoted(word)) == [word]


@pytest.mark.parametrize("word", [*WORDS, "half a \ud83d pair"], ids=ascii)
def test_a_quoted_word_is_printable_and_stays_as_it_is(word):
    assert quoted(word).isprintable()
    assert printable(quoted(word)) == quoted(word)


def test_a_plain_word_is_not_quoted():
    assert quoted(Path("runs/mnist-mlp-1")) == "runs/mnist-mlp-1"


def test_a_path_that_begins_with_a_dash_is_no_option():
    assert (quoted(Path("-run")), quoted("--epochs")) == ("./-run", "--epochs")


def test_a_long_word_of_a_command_is_not_cut():
    assert quoted("x" * 4096) == "x" * 4096


def test_a_command_is_read_as_its_words():
    words = ["zoo", "resume", Path("mein läuf 1"), "--epochs", 20]
    assert command(*words) == "zoo resume 'mein läuf 1' --epochs 20"
    assert words_that_bash_reads(command(*words)) == [str(word) for word in words]

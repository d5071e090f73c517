"""The catalogue: reading it, and the sentences about a wrong one."""

import re

import pytest

from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.core.paths import Checkout, find_checkout
from dojo.tests.checkouts import DESCRIPTION, REPOSITORY, add_kata, list_katas

TINY = DESCRIPTION.format(name="tiny")


def error_of(checkout):
    """The sentence of the UserError."""
    with pytest.raises(UserError) as error:
        load_catalog(checkout)
    return str(error.value)


def test_a_description_is_read_whole(catalog):
    """With its follow-up questions."""
    tiny = catalog["tiny"]
    assert (tiny.track, tiny.level, tiny.asked, tiny.minutes) == ("numbers", "warm-up", "often", 5)
    assert tiny.hints == ("the idea", "the structure", "the detail")
    assert [(f.question, f.answer) for f in tiny.follow_ups] == [("And triple?", "Add once more.")]


def test_katas_keep_the_catalogues_order(checkout):
    """It is the learning order."""
    add_kata(checkout, "ant")
    list_katas(checkout, "tiny", "ant")
    assert [kata.name for kata in load_catalog(checkout).katas] == ["tiny", "ant"]


def test_the_real_catalogue_is_sound_and_complete():
    """Every kata has its files, some hints, and a test file for each of its one to four stages; no folder is left out."""
    checkout = Checkout(REPOSITORY)
    catalog = load_catalog(checkout)
    for kata in catalog.katas:
        for path in (checkout.reference, checkout.probe, checkout.mistakes):
            assert path(kata.name).is_file(), f"{kata.name}: {checkout.shown(path(kata.name))} is missing"
        assert kata.hints, kata.name
        assert 1 <= len(kata.stages) <= 4, kata.name
        stages = {int(file.name.split("_")[1]) for file in checkout.test_files(kata.name)}
        assert stages == set(range(1, len(kata.stages) + 1)), kata.name
    folders = {folder.name for folder in (REPOSITORY / "tests").iterdir() if (folder / "kata.toml").exists()}
    assert folders == {kata.name for kata in catalog.katas}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("katas = [\n", "is not valid TOML"),
        ("", "`tracks` should be a list of names, but is None"),
        ("tracks = []", "`tracks` should be a list of names, but is []"),
        ('tracks = "numbers"', "`tracks` should be a list of names, but is 'numbers'"),
        ('tracks = ["numbers"]\nkatas = []', "checkout has no katas yet"),
        ('tracks = ["numbers"]\nkatas = ["tiny", 3]', "`katas` should be a list of names"),
        ('tracks = ["numbers"]\nkatas = ["tiny", "tiny"]', "lists 'tiny' twice"),
        ('tracks = ["numbers"]\nkatas = ["ti-ny"]', "'ti-ny' cannot name a kata"),
        ('tracks = ["numbers"]\nkatas = ["../tiny"]', "'../tiny' cannot name a kata"),
        ('tracks = ["numbers"]\nkatas = ["class"]', "'class' cannot name a kata"),
        ('tracks = ["numbers"]\nkatas = ["gone"]', "lists 'gone', but there is no tests/gone/kata.toml"),
    ],
)
def test_a_wrong_catalogue_is_a_user_error(checkout, text, says):
    """One sentence for each kind of error."""
    checkout.catalog.write_text(text)
    sentence = error_of(checkout)
    assert sentence.startswith("katas/catalog.toml")
    assert says in sentence


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TINY + 'minutes = "5', "not valid TOML"),
        (TINY.replace('track = "numbers"', 'track = "letters"'), "`track` should be one of numbers, but is 'letters'"),
        (TINY.replace("minutes = 5", "minutes = 'five'"), "`minutes` should be a whole number"),
        (TINY.replace("minutes = 5", "minutes = true"), "`minutes` should be a whole number"),
        (TINY.replace('level = "warm-up"', 'level = "easy"'), "`level` should be one of warm-up, core"),
        (TINY.replace('asked = "often"', 'asked = "never"'), "`asked` should be one of often"),
        (TINY.replace('hints = ["the idea",', "hints = [1,"), "`hints` and `stages` are lists of texts"),
        (TINY.replace('stages = ["the definition", "limits"]', 'stages = "one"'), "`stages` should be a list"),
        (TINY.replace('answer = "Add once more."', ""), "each [[follow_up]] needs a question and an"),
        (TINY.replace('answer = "Add once more."', "answer = 1"), "each [[follow_up]] needs"),
    ],
)
def test_a_wrong_description_is_a_user_error_that_names_the_file_and_the_field(checkout, text, says):
    """One sentence for each kind of error."""
    checkout.description("tiny").write_text(text)
    sentence = error_of(checkout)
    assert sentence.startswith("tests/tiny/kata.toml")
    assert says in sentence


@pytest.mark.parametrize("field", ["title", "track", "level", "asked", "minutes", "question", "stages", "hints"])
def test_every_field_is_required(checkout, field):
    """The sentence names it."""
    text = re.sub(rf"^{field} = .*\n", "", TINY, count=1, flags=re.MULTILINE)
    checkout.description("tiny").write_text(text)
    assert f"tests/tiny/kata.toml: `{field}` should be" in error_of(checkout)


def test_a_catalogue_that_is_not_utf8_says_how_to_restore_it(checkout):
    """A damaged file."""
    checkout.catalog.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"katas/catalog\.toml cannot be read.*git checkout"):
        load_catalog(checkout)


def test_a_missing_catalogue_says_how_to_restore_it(checkout):
    """Deleted while someone worked."""
    checkout.catalog.unlink()
    with pytest.raises(UserError, match=r"katas/catalog\.toml cannot be read.*git checkout"):
        load_catalog(checkout)


@pytest.mark.parametrize(
    ("name", "suggestion"), [("tinny", "Did you mean tiny?"), ("iny", "tiny"), ("TINY", "tiny"), ("zzz", "kata list")]
)
def test_an_unknown_name_gets_the_nearest_one(catalog, name, suggestion):
    """Or the command for the list, if none is similar."""
    with pytest.raises(UserError, match=rf"There is no kata called '{name}'.*{suggestion}"):
        catalog[name]


@pytest.fixture
def five(checkout):
    """The catalogue of five katas, whose names and titles have parts in common."""
    titles = {
        "top_k_sampling": "Top-k sampling",
        "top_p_sampling": "Top-p (nucleus) sampling",
        "ddpm": "DDPM: denoising diffusion",
        "ddpm_loss": "The loss of DDPM",
    }
    for name, title in titles.items():
        add_kata(checkout, name)
        file = checkout.description(name)
        file.write_text(file.read_text().replace(f"{name} in two functions", title))
    return load_catalog(checkout)


@pytest.mark.parametrize(
    ("typed", "name"),
    {
        "top_k_sampling": "top_k_sampling",
        "topk": "top_k_sampling",
        "TOP-K": "top_k_sampling",
        "Top-k sampling": "top_k_sampling",
        "nucleus": "top_p_sampling",
        "tin": "tiny",
        "ddpm": "ddpm",
        "ddpm_": "ddpm",
        "ddpml": "ddpm_loss",
        "loss": "ddpm_loss",
        "denoising diff": "ddpm",
        "katas/ddpm.py": "ddpm",
        "./katas/ddpm.py": "ddpm",
        "ddpm.py": "ddpm",
        "katas\\ddpm.py": "ddpm",
        "/home/ada/katas/solutions/tiny.py": "tiny",
        "tests/ddpm": "ddpm",
        "tests/ddpm/": "ddpm",
        "/tests/x/tests/ddpm/test_1_core.py": "ddpm",
    }.items(),
)
def test_a_kata_is_found_as_people_type_it(five, typed, name):
    """Its name or title, the beginning or a part of one, or a path that the shell has completed."""
    assert five.find(typed).name == name


@pytest.mark.parametrize("typed", ["top", "sampling", "ddpm l oss.py in no folder", "", "-", "katas/", "."])
def test_a_doubtful_name_is_refused(five, typed):
    """A command that resets a file may not guess."""
    with pytest.raises(UserError):
        five.find(typed)


def test_several_katas_that_may_be_meant_are_told(five):
    """So one knows how to go on."""
    with pytest.raises(UserError, match=r"'top_' may mean top_k_sampling or top_p_sampling\. Type more of it\."):
        five.find("top_")


# The checkout


def test_the_checkout_is_found_from_any_folder_in_it(checkout):
    """People work in katas/ as well as at the root."""
    deep = checkout.root / "notebooks" / "data"
    deep.mkdir()
    assert find_checkout(deep) == checkout
    assert find_checkout() == checkout


def test_outside_a_checkout_the_one_that_this_was_installed_from_is_used(tmp_path):
    """`kata` works from any folder after an editable install."""
    assert find_checkout(tmp_path) == Checkout(REPOSITORY)


def test_no_checkout_at_all_is_a_user_error(tmp_path, monkeypatch):
    """An ordinary install, used in some other folder."""
    monkeypatch.setattr("dojo.core.paths.CLONE", tmp_path / "site-packages")
    with pytest.raises(UserError, match=r"No katas found: .* make a workspace here: kata init"):
        find_checkout(tmp_path)


def test_paths_are_shown_as_a_person_types_them(checkout, tmp_path):
    """From the root; in full where they lie outside."""
    assert checkout.shown(checkout.stub("tiny")) == "katas/tiny.py"
    assert checkout.shown(tmp_path / "elsewhere.py") == str(tmp_path.resolve() / "elsewhere.py")

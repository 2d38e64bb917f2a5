"""The words and names of corpora are those of the faker that the project holds."""

from mboxgen.text import make_vocabulary, vocabulary


def test_the_file_is_what_faker_says() -> None:
    assert vocabulary.PATH.read_text("utf-8") == make_vocabulary.made()


def test_every_locale_has_words_and_names() -> None:
    for locale in vocabulary.LOCALES:
        assert len(vocabulary.words(locale)) > 200
        assert min(len(vocabulary.first_names(locale)), len(vocabulary.family_names(locale))) >= 50
    together = vocabulary.words("en_US de_DE")
    assert len(together) == len(set(together)) < len(vocabulary.words("en_US")) + len(vocabulary.words("de_DE"))

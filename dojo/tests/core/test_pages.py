"""Sentences in HTML."""

from markupsafe import Markup

from dojo.core.pages import code, say_html, say_number_html


def test_values_are_escaped_and_sentences_are_not():
    """A sentence is the trainer's own, and may hold elements; a name may be hostile."""
    assert say_html("it's {name}", name="<b>") == "it's &lt;b&gt;"
    assert say_html("see {command}", command=code("a<b")) == "see <code>a&lt;b</code>"
    one, several = "<strong>{number} kata is due</strong>: {name}", "<strong>{number} katas are due</strong>: {name}"
    assert say_number_html(one, several, 2, name="&") == "<strong>2 katas are due</strong>: &amp;"
    assert isinstance(say_html("{points:g} points", points=1.5), Markup)

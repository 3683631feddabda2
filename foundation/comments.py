"""What people write of an act for other people to read."""

from foundation.errors import Invalid

MAX_COMMENT = 2_000


def check_comment(comment: str | None) -> None:
    """See that a comment is short and can be shown.

    Raises:
        Invalid: ``text-too-long``, ``control-character``.
    """
    if comment is None:
        return
    if len(comment) > MAX_COMMENT:
        raise Invalid("text-too-long", field="comment")
    if any(not character.isprintable() and character not in "\n\t" for character in comment):
        raise Invalid("control-character", field="comment")

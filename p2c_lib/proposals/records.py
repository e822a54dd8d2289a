"""Rows of either side as records of evidence: name, address, mail, telephone, in forms that two hands agree on."""

from __future__ import annotations

import polars as pl

from p2c_lib.model import Evidence
from p2c_lib.texts import digits, plain

__all__ = ["PARTS", "records", "shown_parts"]

PARTS = (
    *("name", "written", "given", "family", "street", "road", "number"),
    *("city", "postcode", "country", "mail", "mailbox", "host", "phone"),
)
"""The parts of a record, all String, the empty text where a row has nothing to say."""

# Words that say what kind of company it is, not which: "GmbH", "Ltd". Spelt as `plain` leaves them.
_FORMS = """
gmbh ag kg ohg ug ev eg mbh gesellschaft aktiengesellschaft inc incorporated llc llp lp corp corporation co
company sas sa sarl sasu societe anonyme eurl ltd limited plc kk gk kabushiki kaisha pvt private pty
proprietary ltee limitee bv nv oy ab as aps spa srl sl slu lda sro zoo
""".split()  # noqa: SIM905 - read as a line, not as a list
_JOINING = ("and", "und", "et", "y", "en", "e", "i", "og", "och")
# Long forms of streets to one short form; the ends of German ones are cut off below.
_STREETS = {
    "street": "st", "str": "st", "strasse": "st", "avenue": "av", "ave": "av", "road": "rd", "boulevard": "bd",
    "blvd": "bd", "square": "sq", "place": "pl", "platz": "pl", "lane": "ln", "drive": "dr", "rue": "", "de": "",
    "la": "", "saint": "st", "suite": "ste",
}  # fmt: skip
_PHONE_DIGITS = 8  # the last ones: what stands before is the trunk or the country, written or not
_FEWEST_DIGITS = 6


def records(rows: pl.DataFrame, evidence: Evidence) -> pl.DataFrame:
    """Bring rows into the form in which they are held against each other.

    Args:
        rows: With the columns that the task declares as evidence.
        evidence: Which column is which; several columns of one part are joined with a blank.

    Returns:
        As many rows, in their order: `PARTS`. ``name`` is without legal form and joining words, its words in
        alphabetical order, of persons given and family name; ``written`` the name as it was written, without blanks.
        ``street`` has its long forms short, ``road`` has them as they were written, both without blanks and without
        the house number, which is ``number``. ``phone`` is the last 8 digits, ``mailbox`` and ``host`` are the two
        parts of ``mail``.
    """
    whole = {name: _joined(getattr(evidence, name), rows) for name in Evidence.model_fields}
    frame = rows.select(**whole)
    name = plain(pl.concat_str(pl.col("given"), pl.col("name"), separator=" "))
    mail = pl.col("mail").str.strip_chars().str.to_lowercase().str.extract(r"([^\s@<>;,]+@[^\s@<>;,]+)").fill_null("")
    phone, street = digits(pl.col("phone")), plain(pl.col("street"))
    return frame.select(
        name=_name(name),
        written=name.str.replace_all(" ", ""),
        given=plain(pl.col("given")),
        family=plain(pl.col("name")).str.replace_all(" ", ""),
        street=_street(street),
        road=street.str.replace_all(r"[\d ]+", ""),
        number=street.str.extract_all(r"\d+").list.join(" "),
        city=plain(pl.col("city")),
        postcode=plain(pl.col("postcode")).str.replace_all(" ", ""),
        country=plain(pl.col("country")),
        mail=mail,
        mailbox=mail.str.split("@").list.first(),
        host=mail.str.split("@").list.last(),
        phone=pl.when(phone.str.len_chars() >= _FEWEST_DIGITS)
        .then(phone.str.slice(-_PHONE_DIGITS))
        .otherwise(pl.lit("")),
    )


def shown_parts(rows: pl.DataFrame, evidence: Evidence) -> pl.DataFrame:
    """The evidence as it stands, a column a part, for people to look at: String, the empty text for null."""
    declared = [name for name in Evidence.model_fields if getattr(evidence, name)]
    return rows.select(**{name: _joined(getattr(evidence, name), rows) for name in declared})


def _joined(columns: tuple[str, ...], rows: pl.DataFrame) -> pl.Expr:
    """Several columns as one text; the empty text where nothing is declared, or nothing stands there."""
    parts = [pl.col(column).cast(pl.String).str.strip_chars() for column in columns if column in rows.columns]
    return pl.concat_str(parts, separator=" ", ignore_nulls=True).fill_null("") if parts else pl.lit("")


def _name(name: pl.Expr) -> pl.Expr:
    """Words in alphabetical order, without those that many share; all of them where nothing else is left."""
    words = name.str.split(" ").list.filter(pl.element() != "")
    telling = words.list.filter(~pl.element().is_in([*_FORMS, *_JOINING]))
    return pl.when(telling.list.len() > 0).then(telling).otherwise(words).list.sort().list.join(" ")


def _street(street: pl.Expr) -> pl.Expr:
    """Letters alone, long forms short: the house number is a part of its own."""
    words = street.str.replace_all(r"\d+", " ").str.replace_all(r"(strasse|str)\b", " st").str.split(" ")
    short = words.list.filter(pl.element().str.len_chars() > 1).list.eval(pl.element().replace(_STREETS))
    return short.list.join("")
